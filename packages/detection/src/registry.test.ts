import { readFileSync } from 'node:fs';
import type { ApiCall } from '@tripline/model';
import { describe, expect, it } from 'vitest';
import { alertsFrom } from '../test-support/collect.ts';
import { publishAlert } from './alerts/alert.ts';
import { alertActor } from './alerts/alert-actor.ts';
import { alertId, beginGrowing } from './alerts/episode.ts';
import { createDetection } from './detection.ts';
import type { ActorProfileKind, Detector } from './detector.ts';
import { alertTypes, configSchemaOf, describeDetectors, detectorTable, registry } from './registry.ts';
import { actorSettings, asActorSettings } from './settings.ts';

/** Alerts on every third call of an actor: all that a new detector needs. */
const thirdCalls: ActorProfileKind<{ calls: number }> = {
  id: 99,
  version: 1,
  create(settingsOf) {
    const { enabled } = asActorSettings(settingsOf('third-call'));
    return {
      create: () => ({ calls: 0 }),
      fold(state, call, _, out) {
        state.calls++;
        if (!enabled || state.calls % 3 !== 0) return;
        const { startedAt } = call;
        const finding = {
          id: alertId('third-call', call.actorId, '', startedAt),
          type: 'third-call',
          score: 50,
          actor: alertActor(call),
          service: null,
          route: null,
          endpoint: call.endpoint,
          status: 'closed' as const,
          observed: { value: state.calls, unit: 'calls' },
          expected: { value: 0, low: 0, high: 2, unit: 'calls' },
          summary: `${call.actorName} called a third time.`,
          sources: [],
          evidence: { calls: state.calls },
          sampleCallIds: [call.id],
          references: [],
        };
        out.alert(publishAlert(beginGrowing(startedAt, startedAt, startedAt, 3), finding, startedAt));
      },
      close: () => undefined,
      closesAt: () => undefined,
      encode: ({ calls }, writer) => writer.uint(calls),
      decode: (reader) => ({ calls: reader.uint() }),
    };
  },
};

const toy = {
  alertType: 'third-call',
  setting: 'thirdCall',
  title: 'Third call',
  summary: 'An actor calls a third time.',
  settings: actorSettings,
  ofActor: [thirdCalls],
} as const satisfies Detector;
const withToy: readonly Detector[] = [...registry, toy];

const call = (n: number): ApiCall => ({
  id: `call-${n}`.padStart(8, '0'),
  startedAt: Date.parse('2026-03-02T12:00:00Z') + n * 1_000,
  actorKind: 'consumer',
  actorId: 'c-1',
  actorName: 'alice',
  consumerId: 'c-1',
  method: 'GET',
  path: '/orders',
  endpoint: 'GET /orders',
  service: 'orders',
  status: 200,
  source: 'upstream',
  requestBytes: 100,
  responseBytes: 200,
  latencyMs: 5,
});

/** Alerts of six calls; before the fourth one the state goes through its bytes, perhaps into another registry. */
function toyAlerts(settings: unknown, detectors = withToy): unknown[] {
  const config = configSchemaOf(withToy).parse(settings);
  let detection = createDetection(config, { detectors: withToy });
  let actor = detection.actors.decode(undefined);
  const peers = detection.peers.decode(undefined);
  return [1, 2, 3, 4, 5, 6].flatMap((n) => {
    if (n === 4) {
      const bytes = detection.actors.encode(actor);
      detection = createDetection(config, { detectors });
      actor = detection.actors.decode(bytes);
    }
    return alertsFrom((out) => detection.fold(actor, peers, call(n), out));
  });
}

describe('a detector that is one object in the registry', () => {
  it('raises alerts of its type, and keeps its state beside that of the others', () => {
    expect(toyAlerts({})).toMatchObject([
      { type: 'third-call', severity: 'medium', evidence: { calls: 3 } },
      { type: 'third-call', severity: 'medium', evidence: { calls: 6 } },
    ]);
    expect(toyAlerts({}, registry)).toHaveLength(1);
  });

  it('has settings of its own in the configuration, which switch it off or only try it', () => {
    expect(toyAlerts({ thirdCall: { enabled: false } })).toEqual([]);
    expect(toyAlerts({ thirdCall: { dryRun: true } })).toMatchObject([{ dryRun: true }, { dryRun: true }]);
    expect(toyAlerts({ requestSpike: { dryRun: true } }).some((alert) => 'dryRun' in (alert as object))).toBe(
      false,
    );
    expect(() => configSchemaOf(registry).parse({ thirdCall: {} })).toThrow('thirdCall');
    expect(() => configSchemaOf(withToy).parse({ thirdCall: { sensitivity: 'some' } })).toThrow(
      'sensitivity',
    );
  });

  it('is in the list for consoles and evaluation, and in the table of the documentation', () => {
    expect(describeDetectors(withToy).at(-1)).toEqual({
      alertType: 'third-call',
      setting: 'thirdCall',
      title: 'Third call',
      summary: 'An actor calls a third time.',
    });
    expect(detectorTable(withToy)).toContain(
      '| [`third-call`](src/detectors/third-call/README.md) | `thirdCall` | An actor calls a third time. |',
    );
  });

  it('cannot have the section of another detector, nor a second profile of endpoints', () => {
    const clash = { ...toy, ofActor: [{ ...thirdCalls, id: 1 }] };
    const config = configSchemaOf(withToy).parse({});
    expect(() => createDetection(config, { detectors: [...registry, clash] })).toThrow(
      'two profiles of actors have the id 1; needed: one each',
    );
    const second = {
      ...toy,
      ofEndpoint: registry.find(({ alertType }) => alertType === 'abnormal-parameter')!,
    };
    expect(() =>
      createDetection(config, { detectors: [...registry, second as unknown as Detector] }),
    ).toThrow('abnormal-parameter and third-call both have a profile of endpoints; one detector may');
  });
});

describe('a part of an actor’s state that cannot be read', () => {
  it('is learnt anew alone, and reported once', () => {
    const config = configSchemaOf(withToy).parse({});
    const before = createDetection(config, { detectors: withToy });
    const actor = before.actors.decode(undefined);
    const peers = before.peers.decode(undefined);
    for (const n of [1, 2, 3, 4, 5]) alertsFrom((out) => before.fold(actor, peers, call(n), out));
    const bytes = before.actors.encode(actor);

    const problems: string[] = [];
    const next = { ...toy, ofActor: [{ ...thirdCalls, version: 2 }] };
    const after = createDetection(config, {
      detectors: [...registry, next],
      onRelearn: (what, problem) => problems.push(`${what}: ${problem}`),
    });
    for (let actors = 0; actors < 3; actors++) {
      const read = after.actors.decode(bytes);
      // The sixth call would have been an alert; the toy counts from 1 again, and the others go on.
      expect(alertsFrom((out) => after.fold(read, peers, call(6), out))).toEqual([]);
      const kept = before.actors.decode(bytes);
      alertsFrom((out) => before.fold(kept, peers, call(6), out));
      expect(after.actors.encode(read).length).toBe(before.actors.encode(kept).length);
    }
    expect(problems).toEqual(['section 99 of actors: expected version 2, got 1']);
  });
});

describe('the registry', () => {
  it('names each setting after its type of alert, in camel case', () => {
    for (const { alertType, setting } of registry)
      expect(setting).toBe(alertType.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase()));
    expect(new Set(alertTypes).size).toBe(registry.length);
  });

  it('is the table of the README', () => {
    const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
    // If this fails, put the table that `detectorTable()` gives in its place.
    expect(readme).toContain(detectorTable());
  });

  it('has a page beside each detector', () => {
    for (const { alertType, title } of registry) {
      const page = readFileSync(new URL(`detectors/${alertType}/README.md`, import.meta.url), 'utf8');
      expect(page.split('\n')[0]).toBe(`# ${title}`);
    }
  });
});
