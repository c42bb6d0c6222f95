import { describe, expect, test } from 'vitest';
import { pluginId, responseId } from '@tripline/policy';
import { anAlert } from '../test-support.ts';
import { minute, world } from './test-world.ts';

type Saved = Record<string, unknown> & { target?: { kind: string; id: string; name: string } };

/** As versions wrote it that knew no targets, only consumers. */
function withConsumer({ target, ...rest }: Saved): Saved {
  return target ? { ...rest, consumer: { id: target.id, name: target.name } } : rest;
}

/** Rewrites the state to what such a version had saved. */
function asVersionWithoutTargets(values: Map<string, string>): void {
  for (const [key, value] of values) {
    const saved = JSON.parse(value) as { response: Saved; outbox: Saved[] };
    const before = {
      ...saved,
      response: withConsumer(saved.response),
      outbox: saved.outbox.map(withConsumer),
    };
    values.set(key, JSON.stringify(before));
  }
}

describe('responses that a version without targets had saved', () => {
  const id = responseId('block-all', 'alert-c-1', 'block');

  test('are adopted with their plugins: nothing is written, they are lifted and expire as ever', async () => {
    const w = await world();
    await w.decide(anAlert(), anAlert({ consumer: 'c-2' }));
    await w.controller.pass();
    asVersionWithoutTargets(w.store.values);
    w.kong.writes.length = 0;

    await w.restart();
    await w.run(minute);
    expect(w.status()).toEqual(['active', 'active']);
    expect(w.kong.writes).toEqual([]);
    expect(w.log).not.toContain('by hand');
    expect(w.controller.responses()[0]).toMatchObject({
      id,
      target: { kind: 'consumer', id: 'c-1', name: 'name of c-1' },
    });
    expect(await w.controller.lift(id)).toMatchObject({ status: 'lifted' });
    expect([...w.kong.store.keys()]).toEqual([pluginId('c-2', 'request-termination')]);
    await w.run(16 * minute);
    expect(w.kong.store.size).toBe(0);
    expect(w.published().get(id)).toMatchObject({ status: 'lifted', target: { id: 'c-1' } });
  });

  test('are saved in the new form with the first pass, and published with their target', async () => {
    const w = await world();
    w.bus.full = true;
    await w.decide(anAlert());
    await w.controller.pass();
    asVersionWithoutTargets(w.store.values);
    await w.restart();
    w.bus.full = false;
    await w.controller.pass();
    expect(w.bus.responses.map(({ revision, target }) => [revision, target.id])).toEqual([
      [1, 'c-1'],
      [2, 'c-1'],
    ]);
    expect([...w.store.values.values()].join('')).not.toContain('"consumer":');
  });

  test('answer their alert: it leads to no second response', async () => {
    const w = await world();
    await w.decide(anAlert());
    await w.controller.pass();
    await w.controller.lift(id);
    asVersionWithoutTargets(w.store.values);
    await w.restart();
    await w.decide(anAlert({ revision: 2 }));
    await w.controller.pass();
    expect(w.status()).toEqual(['lifted']);
    expect(w.kong.blocked()).toEqual([]);
  });

  test('whose consumer cannot be read are reported and forgotten, and leave nothing in Kong', async () => {
    const w = await world();
    await w.decide(anAlert(), anAlert({ consumer: 'c-2' }));
    await w.controller.pass();
    asVersionWithoutTargets(w.store.values);
    const key = `response:${id}`;
    const saved = JSON.parse(w.store.values.get(key)!) as { response: Saved };
    w.store.values.set(key, JSON.stringify({ ...saved, response: { ...saved.response, consumer: null } }));
    await w.restart();
    await w.run(minute);
    expect(w.status()).toEqual(['active']);
    expect(w.kong.blocked()).toEqual(['c-2']);
  });
});
