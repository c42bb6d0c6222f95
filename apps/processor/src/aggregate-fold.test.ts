import { bodyOf } from '@tripline/bus';
import {
  createEndpointDetection,
  detectionConfigSchema,
  encodeEmission,
  PreAggregator,
  type Emission,
  type EndpointDetection,
} from '@tripline/detection';
import type { Alert, ApiCall } from '@tripline/model';
import { describe, expect, it } from 'vitest';
import { AggregateFold, type AggregateFoldOptions } from './aggregate-fold.ts';
import { beganMs, memoryState, probe } from './test-support.ts';

const detection = createEndpointDetection(detectionConfigSchema.parse({}));

function foldOn(state = memoryState(), options: Partial<AggregateFoldOptions> = {}): AggregateFold {
  return new AggregateFold({
    detection,
    state,
    sources: 1,
    onUnreadable: (record, problem) => expect.fail(`${problem}: ${record}`),
    onRelearn: (key, problem) => expect.fail(`${key}: ${problem}`),
    ...options,
  });
}

/** 240 addresses that fail to log in on an endpoint, one a second. */
function stuffing(endpoint: string, fromMs: number): ApiCall[] {
  return Array.from({ length: 240 }, (_, n) => ({
    ...probe(`10.0.0.${n}`, fromMs + n * 1_000, n),
    id: `${endpoint} ${fromMs} ${n}`,
    method: 'POST',
    path: '/login',
    endpoint,
    service: 'accounts',
    route: 'accounts',
    status: 401,
    auth: 'failure',
    source: 'upstream' as const,
    country: 'DE',
    asn: 64_500,
    user: `~user~${n}`,
  }));
}

/** What a partition sends on about calls, with all that it counted up to the end. */
function emissionsOf(calls: readonly ApiCall[], from = 0): Emission[] {
  const aggregator = new PreAggregator(from);
  for (const call of calls) aggregator.add(call);
  aggregator.rest();
  return [...aggregator.unsent];
}

/** The body of a batch of `aggregates`. */
function bodyWith(emissions: readonly (Emission | undefined)[]): Buffer {
  return bodyOf(emissions.map((emission) => encodeEmission(emission!)));
}

describe('endpoints with open episodes', () => {
  it('are never more than the limit, are saved one by one, and go on after a restart', async () => {
    const state = memoryState();
    const closedEarly: [number, number][] = [];
    const options = {
      maxOpenEpisodes: 4,
      onClosedEarly: (episodes: number, most: number) => closedEarly.push([episodes, most]),
    };
    let fold = foldOn(state, options);
    await fold.open();
    const alerts: Alert[] = [];
    const calls = Array.from({ length: 8 }, (_, n) => stuffing(`POST /login${n}`, n * 300_000)).flat();
    for (const emission of emissionsOf(calls)) {
      alerts.push(...(await fold.fold(bodyWith([emission]))));
      expect(fold.openEpisodes).toBeLessThanOrEqual(4);
      await fold.checkpoint(1);
      fold = foldOn(state, options);
      await fold.open();
    }
    expect(closedEarly.length).toBeGreaterThan(0);
    expect(new Set(closedEarly.map(([, most]) => most))).toEqual(new Set([4]));
    const closed = alerts.filter(({ status }) => status === 'closed');
    expect(closed.length).toBe(closedEarly.reduce((sum, [episodes]) => sum + episodes, 0));
    expect(closed[0]!.endpoint).toBe('POST /login0');
    expect([...state.values.keys()].filter((key) => key.startsWith('open:')).length).toBe(fold.openEpisodes);
  });

  it('end at their time after a restart', async () => {
    const state = memoryState();
    const before = foldOn(state);
    await before.open();
    await before.fold(bodyWith(emissionsOf(stuffing('POST /login', 0))));
    await before.checkpoint(1);
    const fold = foldOn(state);
    await fold.open();
    expect(fold.openEpisodes).toBe(1);
    expect((await fold.closeUntil(beganMs + 10 * 86_400_000)).map(({ status }) => status)).toEqual([
      'closed',
    ]);
  });
});

describe('records of aggregates that are no emission', () => {
  it('never end the fold, whatever byte stands in whichever place, and leave a state that can be taken up', async () => {
    const call = stuffing('POST /login', 0)[0]!;
    const mixed = [
      call,
      { ...call, id: 'success', status: 200 },
      { ...call, id: 'ids', path: '/orders/17', endpoint: 'GET /orders/{id}', method: 'GET', status: 200 },
    ];
    const emission = emissionsOf(mixed).find(({ parts }) => parts.length > 0)!;
    const { length } = encodeEmission(emission);
    let cutOff = 0;
    let changed = 0;
    for (let at = 0; at < length; at++) {
      const state = memoryState();
      let unreadable = 0;
      // Numbers that contradict each other may leave a state that cannot be saved.
      const fold = foldOn(state, { onUnreadable: () => unreadable++, onRelearn: () => undefined });
      await fold.open();
      await fold.fold(bodyOf([encodeEmission(emission).subarray(0, at)]));
      cutOff += unreadable;
      for (const [more, value] of [0, 1, 127, 128, 255].entries()) {
        // With another number, else it would be taken for a repetition.
        const bytes = encodeEmission({ ...emission, number: emission.number + more });
        bytes[at] = value;
        await fold.fold(bodyOf([bytes]));
      }
      changed += unreadable - 1;
      await fold.closeUntil(Infinity);
      await fold.checkpoint(1);
      await foldOn(state, { onRelearn: () => undefined }).open();
    }
    expect(cutOff).toBe(length);
    expect(changed).toBeGreaterThan(length);
  });

  it('or an endpoint that its detectors fail on, stop no other endpoint', async () => {
    const faulty: EndpointDetection = {
      ...detection,
      judge: (state, whole, step) => {
        if (whole.endpoint === 'POST /a') throw new TypeError('x is undefined');
        return detection.judge(state, whole, step);
      },
    };
    const relearnt: string[] = [];
    const fold = foldOn(undefined, { detection: faulty, onRelearn: (key) => relearnt.push(key) });
    await fold.open();
    const calls = [...stuffing('POST /a', 0), ...stuffing('POST /b', 0)].sort(
      (a, b) => a.startedAt - b.startedAt,
    );
    const alerts = await fold.fold(bodyWith(emissionsOf(calls)));
    expect(new Set(alerts.map(({ endpoint }) => endpoint))).toEqual(new Set(['POST /b']));
    expect(new Set(relearnt)).toEqual(new Set(['e:accounts POST /a']));
  });

  it('and a saved state of another shape are begun anew with a word about it', async () => {
    for (const text of [
      '{}',
      'null',
      '{"hold":[1,[]],"steps":[],"slots":-1}',
      '{"hold":[1,[]],"steps":[]}',
      '{"hold":[1,[1]],"steps":[],"slots":0}',
    ]) {
      const state = memoryState();
      state.values.set('progress', Buffer.from(text));
      const relearnt: string[] = [];
      const fold = foldOn(state, { onRelearn: (key) => relearnt.push(key) });
      await fold.open();
      await fold.fold(bodyWith(emissionsOf(stuffing('POST /login', 0))));
      expect(relearnt).toEqual(['progress']);
    }
  });
});

describe('a partition of api-calls that says nothing while others go on', () => {
  it('is passed over after ten minutes by the clock, and heard again when it speaks', async () => {
    let nowMs = 0;
    const passedOver: number[] = [];
    const state = memoryState();
    const fold = foldOn(state, {
      sources: 3,
      now: () => nowMs,
      onPassedOver: (source) => passedOver.push(source),
    });
    await fold.open();
    const alerts: Alert[] = [];
    const [first, second, third] = [0, 1, 2].map((from) => emissionsOf(stuffing('POST /login', 0), from));
    // The second has begun and stands; the third was never heard of.
    alerts.push(...(await fold.fold(bodyWith([second![0]]))));
    for (const emission of first!) {
      nowMs += 500_000 / first!.length;
      alerts.push(...(await fold.fold(bodyWith([emission]))));
    }
    expect(passedOver).toEqual([]);
    expect(alerts).toEqual([]);
    nowMs += 600_000;
    const [later] = emissionsOf(stuffing('POST /login', 360_000));
    alerts.push(...(await fold.fold(bodyWith([later]))));
    expect(passedOver).toEqual([1, 2]);
    expect(fold.counts.passedOver).toBe(2);
    expect(alerts.map(({ type }) => type)).toContain('credential-stuffing');
    // What it says late still counts.
    await fold.checkpoint(1);
    const heard = fold.hold.judged;
    await fold.fold(bodyWith(third!));
    expect(fold.hold.held).toBeGreaterThan(0);
    expect(fold.hold.judged).toBeGreaterThanOrEqual(heard);
  });

  it('is waited for as long as it speaks, however far it is behind', async () => {
    let nowMs = 0;
    const fold = foldOn(undefined, {
      sources: 2,
      now: () => nowMs,
      onPassedOver: (source) => expect.fail(`passed over ${source}`),
    });
    await fold.open();
    const [ahead, behind] = [0, 1].map((from) => emissionsOf(stuffing('POST /login', 0), from));
    await fold.fold(bodyWith(ahead!.slice(0, 3)));
    for (const [at, emission] of behind!.entries()) {
      nowMs += 500_000;
      const news = { from: 0, number: 2e13 + at, until: 1e6 + at, idle: false, parts: [] };
      await fold.fold(bodyWith([news, emission]));
    }
  });
});
