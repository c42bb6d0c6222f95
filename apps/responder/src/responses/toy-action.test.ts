import { expect, test } from 'vitest';
import { z } from 'zod';
import { ActionRegistry, actions, type ResponseKind } from '@tripline/policy';
import { anAlert, aPolicy } from '../test-support.ts';
import { minute, world } from './test-world.ts';

/** An action that does not exist; see also packages/policy/src/actions/toy-action.test.ts. */
const slow: ResponseKind = {
  kind: 'response',
  type: 'slow',
  schema: z.strictObject({ type: z.literal('slow'), duration: z.string() }),
  documentation: { inKong: '', settings: '' },
  targets: ['consumer'],
  plugin: { name: 'delay', unsetFields: [], dependsOnOperator: false },
  plan: ({ target, makePlugin }) => ({
    plugins: [makePlugin({ route: null, service: null, consumer: target.id }, { ms: 100 })],
    refusal: null,
    remark: null,
  }),
};

test('an action of a new kind is put into Kong and taken off by its place in the list alone', async () => {
  const w = await world({
    actions: new ActionRegistry([...actions.kinds, slow]),
    policies: [aPolicy({ id: 'slow', actions: [{ type: 'slow', duration: '5m' } as never] })],
  });
  await w.decide(anAlert());
  await w.controller.pass();
  expect([...w.kong.store.values()]).toMatchObject([
    { name: 'delay', consumer: { id: 'c-1' }, config: { ms: 100 } },
  ]);
  await w.restart();
  await w.run(6 * minute);
  expect(w.status()).toEqual(['expired']);
  expect(w.kong.store.size).toBe(0);
});
