import { AggregateFold, aggregateRecords, CallFold } from '@tripline/app-processor';
import { bodyOf } from '@tripline/bus';
import { createDetection, createEndpointDetection, detectionConfigSchema } from '@tripline/detection';
import type { ApiCall } from '@tripline/model';
import { createEmbeddedState } from '@tripline/state';
import { describe, expect, it } from 'vitest';
import { scratchDir } from '../support/parts.ts';

const beganMs = Date.parse('2026-03-02T09:00:00Z');

const calls = Array.from({ length: 240 }, (_, n): ApiCall => {
  const ip = `10.0.0.${n}`;
  return {
    id: `call-${n}`,
    startedAt: beganMs + n * 1_000,
    actorKind: 'address',
    actorId: ip,
    actorName: ip,
    ip,
    method: 'POST',
    path: '/login',
    endpoint: 'POST /login',
    service: 'accounts',
    status: 401,
    auth: 'failure',
    source: 'upstream',
    requestBytes: 1,
    responseBytes: 1,
    latencyMs: 1,
  };
});

const foreignValues: [form: string, value: Buffer][] = [
  ['JSON of another version', Buffer.from('[1,"of an earlier version"')],
  [
    'an entry of the earlier embedded store',
    Buffer.concat([Buffer.from([0x92, 0xce, 0x69, 0x7e, 0x9a, 0x43, 0xd9, 3]), Buffer.from('[4]')]),
  ],
  ['text of seven bits a character, as earlier in Redis', Buffer.from([8 + 3, 0x5b, 0x34, 0x5d])],
  ['nothing', Buffer.alloc(0)],
  ['no UTF-8', Buffer.from([0xff, 0xfe, 0x00])],
];

describe('states that an earlier version or a damaged store left', () => {
  it.each(foreignValues)(
    'are learnt anew, reported, and stop no detector from alerting: %s',
    async (_, foreign) => {
      const scratch = scratchDir();
      const state = createEmbeddedState({ path: scratch.path });
      const config = detectionConfigSchema.parse({});
      const [detection, endpointDetection] = [createDetection(config), createEndpointDetection(config)];
      const ofCalls = await state.claim(0);
      const ofAggregates = await state.claim(1);
      const keys = ['progress', 'aggregates', 'parameter-episodes', detection.keysOf(calls[0]!).actor];
      await ofCalls.checkpoint(new Map(keys.map((key) => [key, foreign])), 7);
      await ofAggregates.checkpoint(
        new Map(
          ['progress', endpointDetection.stateKey({ service: 'accounts', endpoint: 'POST /login' })].map(
            (key) => [key, foreign],
          ),
        ),
        7,
      );

      const told: string[] = [];
      const options = {
        onUnreadable: (record: string) => expect.fail(`unreadable: ${record}`),
        onRelearn: (key: string, problem: string) => void told.push(`${key}: ${problem}`),
      };
      const fold = new CallFold({
        ...options,
        detection,
        aggregates: true,
        state: ofCalls,
        maxActorsInMemory: () => 1_000,
        rememberedIds: 1_000,
      });
      const aggregateFold = new AggregateFold({
        ...options,
        detection: endpointDetection,
        state: ofAggregates,
        sources: 1,
      });
      await fold.open();
      await aggregateFold.open();
      await fold.fold(bodyOf(calls.map((call) => Buffer.from(JSON.stringify(call)))));
      fold.rest();
      const records = fold.emissions.flatMap((emission) => aggregateRecords(emission, 1));
      const alerts = await aggregateFold.fold(bodyOf(records.map(({ value }) => value)));

      expect(alerts.map(({ type }) => type)).toContain('credential-stuffing');
      expect(fold.counts.folded).toBe(calls.length);
      expect(fold.counts.relearnt).toBe(4);
      expect(aggregateFold.counts.relearnt).toBe(2);
      expect(told.map((one) => one.slice(0, one.indexOf(': '))).sort()).toEqual(
        [...keys, 'e:accounts POST /login', 'progress'].sort(),
      );
      await state.close();
      scratch.dispose();
    },
  );
});
