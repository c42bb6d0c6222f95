import { bodyOf } from '@tripline/bus';
import { createDetection, detectionConfigSchema, type Detection } from '@tripline/detection';
import { apiCallSchema, type Alert, type ApiCall } from '@tripline/model';
import { describe, expect, it } from 'vitest';
import { CallFold, type CallFoldOptions } from './call-fold.ts';
import { anyValues, beganMs, memoryState, ndjson, probe } from './test-support.ts';

const detection = createDetection(detectionConfigSchema.parse({}));

function foldOn(state = memoryState(), options: Partial<CallFoldOptions> = {}): CallFold {
  return new CallFold({
    detection,
    aggregates: false,
    state,
    maxActorsInMemory: () => 1_000,
    rememberedIds: 50_000,
    onUnreadable: (record, problem) => expect.fail(`${problem}: ${record}`),
    onRelearn: (key, problem) => expect.fail(`${key}: ${problem}`),
    ...options,
  });
}

/** So many paths in an hour that an alert is raised. */
const scan = (address: string, atMs: number, from = 0): ApiCall[] =>
  Array.from({ length: 30 }, (_, n) => probe(address, atMs + n * 20, from + n));

/** 60 addresses that scan one after the other, of which every fifth goes on a while later, within the hour. */
function scans(): ApiCall[] {
  const calls: ApiCall[] = [];
  for (let n = 0; n < 60; n++) {
    calls.push(...scan(`198.51.100.${n}`, n * 20_000));
    if (n % 5 === 4) calls.push(...scan(`198.51.100.${n - 4}`, n * 20_000 + 10_000, 100));
  }
  return calls;
}

/** Folds the calls in batches, each fold living for `batchesPerLife` of them. */
async function alertsOf(
  calls: readonly ApiCall[],
  batch: number,
  batchesPerLife: number,
  maxOpenEpisodes: number,
): Promise<Alert[]> {
  const state = memoryState();
  const alerts: Alert[] = [];
  let fold = foldOn(state, { maxOpenEpisodes });
  await fold.open();
  for (let at = 0, batches = 1; at < calls.length; at += batch, batches++) {
    alerts.push(...(await fold.fold(ndjson(calls.slice(at, at + batch)))));
    expect(fold.openEpisodes).toBeLessThanOrEqual(maxOpenEpisodes);
    if (batches % batchesPerLife > 0) continue;
    await fold.checkpoint(at);
    fold = foldOn(state, { maxOpenEpisodes });
    await fold.open();
  }
  alerts.push(...(await fold.closeUntil(Infinity)));
  return alerts;
}

describe('open episodes of a partition', () => {
  it('are never more than the limit: the quietest are closed early, each with a last revision, and counted', async () => {
    const closedEarly: [number, number][] = [];
    const fold = foldOn(undefined, {
      maxOpenEpisodes: 16,
      onClosedEarly: (episodes, most) => closedEarly.push([episodes, most]),
    });
    await fold.open();
    const alerts: Alert[] = [];
    for (let n = 0; n < 20; n++) {
      alerts.push(...(await fold.fold(ndjson(scan(`198.51.100.${n}`, n * 20_000)))));
      expect(fold.openEpisodes).toBeLessThanOrEqual(16);
    }
    const closed = alerts.filter(({ status }) => status === 'closed');
    expect(closed.map(({ actor }) => actor.id)).toEqual([0, 1, 2, 3].map((n) => `198.51.100.${n}`));
    expect(closed.every(({ revision }) => revision > 1)).toBe(true);
    expect(closedEarly).toEqual([
      [2, 16],
      [2, 16],
    ]);
    expect(fold.counts.closedEarly).toBe(4);
  });

  it('give the same alerts at the limit, whatever the batches and wherever the fold is restarted', async () => {
    const calls = scans();
    const expected = await alertsOf(calls, calls.length, 2, 4);
    expect(expected.filter(({ status }) => status === 'closed').length).toBeGreaterThan(60);
    expect(await alertsOf(calls, 7, Infinity, 4)).toEqual(expected);
    expect(await alertsOf(calls, 100, 1, 4)).toEqual(expected);
    expect(await alertsOf(calls, 23, 3, 4)).toEqual(expected);
  });

  it('are raised again under the same id with the revisions that follow, if what was closed early goes on', async () => {
    const alerts = await alertsOf(scans(), 50, 2, 4);
    const revisions = new Map<string, number[]>();
    for (const { id, revision } of alerts) revisions.set(id, [...(revisions.get(id) ?? []), revision]);
    for (const seen of revisions.values()) expect(seen).toEqual(seen.map((_, index) => index + 1));
    const first = alerts.filter(({ actor }) => actor.id === '198.51.100.0');
    expect(new Set(first.map(({ id }) => id)).size).toBe(1);
    expect(first.map(({ status }) => status)).toEqual(['open', 'closed', 'open', 'closed']);
  });

  it('are saved each under a key of its own: a checkpoint writes those that changed only', async () => {
    const state = memoryState();
    const fold = foldOn(state);
    await fold.open();
    for (let n = 0; n < 50; n++) await fold.fold(ndjson(scan(`198.51.100.${n}`, n * 1_000)));
    await fold.checkpoint(1);
    expect(state.written.filter((key) => key.startsWith('open:')).length).toBe(50);
    await fold.fold(ndjson(scan('198.51.100.7', 60_000, 200)));
    await fold.checkpoint(2);
    expect(state.written.filter((key) => key.startsWith('open:'))).toEqual(['open:7']);
    expect(state.values.get('progress')!.length).toBeLessThan(200);
    await fold.closeUntil(Infinity);
    await fold.checkpoint(3);
    expect([...state.values.keys()].filter((key) => key.startsWith('open:'))).toEqual([]);
  });
});

describe('a saved state of a partition', () => {
  it('with 150,000 open episodes is taken up to the limit and stops nothing', async () => {
    const state = memoryState();
    state.values.set(
      'progress',
      Buffer.from(JSON.stringify({ watermark: beganMs, slots: 150_000, ids: [] })),
    );
    for (let n = 0; n < 150_000; n++)
      state.values.set(`open:${n}`, Buffer.from(JSON.stringify([`a:address:${n}`, beganMs + 3_600_000 + n])));
    const relearnt: string[] = [];
    const fold = foldOn(state, { onRelearn: (key, problem) => relearnt.push(`${key}: ${problem}`) });
    await fold.open();
    expect(fold.openEpisodes).toBe(20_000);
    expect(relearnt.join()).toContain('150000 episodes were open; 20000 are kept');
    await fold.fold(ndjson(scan('198.51.100.1', 1_000)));
    expect(fold.openEpisodes).toBeLessThanOrEqual(20_000);
    await fold.closeUntil(beganMs + 3_600_000);
    await fold.checkpoint(1);
    expect(state.values.get('progress')!.length).toBeLessThan(200);
    const next = foldOn(state);
    await next.open();
    expect(next.openEpisodes).toBe(fold.openEpisodes);
    expect([...state.values.keys()].filter((key) => key.startsWith('open:')).length).toBe(fold.openEpisodes);
  });

  it('ends its open episodes at their time after a restart', async () => {
    const state = memoryState();
    const before = foldOn(state);
    await before.open();
    await before.fold(ndjson(scan('198.51.100.1', 1_000)));
    await before.checkpoint(1);
    const fold = foldOn(state);
    await fold.open();
    expect(fold.openEpisodes).toBe(1);
    expect((await fold.closeUntil(beganMs + 86_400_000)).map(({ status }) => status)).toEqual(['closed']);
  });

  it('that has another shape is begun anew with a word about it', async () => {
    const wrong: Record<string, string>[] = [
      { progress: '{}' },
      { progress: 'null' },
      { progress: '[]' },
      { progress: '{"watermark":1,"slots":-1,"ids":[]}' },
      { progress: '{"watermark":1,"slots":1e12,"ids":[]}' },
      { progress: '{"watermark":1,"ids":[]}' },
      { progress: '{"watermark":1,"slots":0}' },
      { progress: '{"watermark":1,"slots":0,"ids":[1]}' },
      { progress: '{"watermark":1,"slots":2,"ids":[]}', 'open:0': 'rubbish', 'open:1': '["a:address:x",5]' },
    ];
    for (const values of wrong) {
      const state = memoryState();
      for (const [key, value] of Object.entries(values)) state.values.set(key, Buffer.from(value));
      const relearnt: string[] = [];
      const fold = foldOn(state, { onRelearn: (key) => relearnt.push(key) });
      await fold.open();
      await fold.fold(ndjson(scan('198.51.100.1', 1_000)));
      await fold.checkpoint(1);
      expect(relearnt).toEqual([Object.keys(values).at(-1) === 'open:1' ? 'open:0' : 'progress']);
    }
  });

  it('has few chunks of call ids, however few calls come between checkpoints, and knows all of them again', async () => {
    const state = memoryState();
    const fold = foldOn(state);
    await fold.open();
    const calls = Array.from({ length: 3_000 }, (_, n) => probe('198.51.100.1', n * 60_000, n));
    for (const [n, call] of calls.entries()) {
      await fold.fold(ndjson([call]));
      await fold.checkpoint(n);
    }
    expect(state.values.get('progress')!.length).toBeLessThan(200);
    const next = foldOn(state);
    await next.open();
    await next.fold(ndjson(calls));
    expect(next.counts).toMatchObject({ folded: 0, duplicates: 3_000 });
  });
});

/** An API call with every field that detectors read. */
const wholeCall: ApiCall = {
  ...probe('2001:db8:1:2::/64', 0, 0),
  consumerId: 'c',
  consumerTags: ['gold'],
  credentialId: 'k',
  credential: '~key~x',
  user: '~user~x',
  presented: 'something',
  auth: 'failure',
  addressSuccesses: 1,
  ip: '2001:db8:1:2::3',
  network: '2001:db8:1:2::/64',
  country: 'DE',
  latitude: 52.5,
  longitude: 13.4,
  asn: 64_500,
  service: 'orders',
  route: 'orders',
  path: '/orders/17',
  endpoint: 'GET /orders/{id}',
  status: 200,
  source: 'upstream',
  query: { page: ['1'], ids: ['1,2,3'] },
  userAgent: 'curl/8',
  cookies: { session: '~cookie~x' },
  headers: { 'x-tenant': 't' },
  upstreamStatus: '200',
  grpcStatus: 0,
  upstreamMs: 1,
  workspace: 'default',
};

describe('records of api-calls that are JSON but no API call', () => {
  it('never end the fold, whatever stands in whichever field, and change no alert of other calls', async () => {
    const good = scan('198.51.100.1', 100_000);
    const expected = (await alertsOf(good, 10, Infinity, 16)).map(({ id }) => id);
    const fields = new Set([...Object.keys(wholeCall), ...Object.keys(apiCallSchema.shape)]);
    const odd = [...fields].flatMap((name, at) =>
      anyValues.map((value, n) => ({
        ...wholeCall,
        id: `odd-${at}-${n}`,
        startedAt: beganMs + n,
        [name]: value,
      })),
    );
    const others: unknown[] = [...anyValues, {}, { id: '12345678', startedAt: 1, actorId: 'x' }];
    for (const aggregates of [false, true]) {
      const state = memoryState();
      const setAside: string[] = [];
      let fold = foldOn(state, { aggregates, onUnreadable: (_, problem) => setAside.push(problem) });
      await fold.open();
      await fold.fold(ndjson(odd));
      await fold.fold(
        Buffer.concat([ndjson(others), bodyOf([Buffer.from('no JSON'), Buffer.from('{"id":')])]),
      );
      await fold.checkpoint(1);
      const { folded, failed, unreadable } = fold.counts;
      expect(unreadable).toBe(setAside.length);
      expect(unreadable).toBeGreaterThan(others.length + odd.length / 2);
      expect(failed).toBe(0);
      expect(folded).toBeGreaterThan(20);
      fold = foldOn(state, { aggregates });
      await fold.open();
      const alerts = [...(await fold.fold(ndjson(good))), ...(await fold.closeUntil(Infinity))];
      expect(alerts.filter(({ actor }) => actor.id === '198.51.100.1').map(({ id }) => id)).toEqual(expected);
      expect(fold.counts.relearnt).toBe(0);
    }
  });
});

describe('an API call that a detector fails on', () => {
  const faulty: Detection = {
    ...detection,
    fold: (actor, peers, call, out) => {
      detection.fold(actor, peers, call, out);
      if (call.path === '/probe/7') throw new TypeError('x is not iterable');
    },
    foldEndpoint: (endpoint, episodes, call, out) => {
      if (call.path === '/probe/8') throw new TypeError('y is not iterable');
      detection.foldEndpoint(endpoint, episodes, call, out);
    },
  };
  const calls = [...scan('198.51.100.1', 0), ...scan('198.51.100.2', 10_000, 100)].map((call) => ({
    ...call,
    status: call.path === '/probe/8' ? 200 : call.status,
  }));

  it('is set aside with what failed, and the state that it was folded into is begun anew', async () => {
    const failed: string[] = [];
    const relearnt: string[] = [];
    const fold = foldOn(undefined, {
      detection: faulty,
      onFailed: (record, step, error) =>
        failed.push(`${(JSON.parse(record) as ApiCall).path} ${step} ${(error as Error).message}`),
      onRelearn: (key) => relearnt.push(key),
    });
    await fold.open();
    const alerts = await fold.fold(ndjson(calls));
    expect(failed).toEqual([
      '/probe/7 folding it into its actor x is not iterable',
      '/probe/8 folding it into its endpoint y is not iterable',
    ]);
    expect(relearnt).toEqual(['a:address:198.51.100.1', 'q:|GET /probe/{id}']);
    expect(fold.counts).toMatchObject({ folded: calls.length - 2, failed: 2, relearnt: 2 });
    expect(new Set(alerts.map(({ actor }) => actor.id))).toEqual(new Set(['198.51.100.2']));
  });

  it('leaves the same states behind whatever the batches and wherever the fold is restarted', async () => {
    const statesAfter = async (batch: number, restart: boolean): Promise<Map<string, Buffer>> => {
      const state = memoryState();
      const options = { detection: faulty, onRelearn: () => undefined };
      let fold = foldOn(state, options);
      await fold.open();
      for (let at = 0; at < calls.length; at += batch) {
        await fold.fold(ndjson(calls.slice(at, at + batch)));
        if (!restart) continue;
        await fold.checkpoint(at);
        fold = foldOn(state, options);
        await fold.open();
      }
      await fold.checkpoint(calls.length);
      return new Map([...state.values].filter(([key]) => /^[apq]:/.test(key)));
    };
    const expected = await statesAfter(calls.length, false);
    expect([...expected.keys()].sort()).toEqual(['a:address:198.51.100.1', 'a:address:198.51.100.2', 'p:']);
    expect(await statesAfter(3, true)).toEqual(expected);
    expect(await statesAfter(1, true)).toEqual(expected);
  });

  it('leaves what cannot be saved out of the checkpoint, which is made all the same', async () => {
    const relearnt: string[] = [];
    const isOf = (address: string, bytes: Buffer): boolean => bytes.includes(address);
    const state = memoryState();
    const fold = foldOn(state, {
      detection: {
        ...detection,
        actors: {
          ...detection.actors,
          encode: (actor) => {
            const bytes = detection.actors.encode(actor);
            if (isOf('198.51.100.1', bytes)) throw new RangeError('cannot write NaN');
            return bytes;
          },
        },
        peers: {
          ...detection.peers,
          encode: () => {
            throw new RangeError('cannot write NaN');
          },
        },
      },
      onRelearn: (key) => relearnt.push(key),
    });
    await fold.open();
    await fold.fold(ndjson([...scan('198.51.100.1', 0), ...scan('198.51.100.2', 10_000)]));
    await fold.checkpoint(1);
    expect(relearnt).toEqual(['a:address:198.51.100.1', 'p:']);
    expect([...state.values.keys()].filter((key) => /^[aqp]:/.test(key)).sort()).toEqual([
      'a:address:198.51.100.1',
      'a:address:198.51.100.2',
    ]);
    const next = foldOn(state);
    await next.open();
    expect(next.openEpisodes).toBe(1);
  });

  it('or a state that cannot be closed, ends neither the closing nor the fold', async () => {
    const relearnt: string[] = [];
    const fail = (): never => {
      throw new TypeError('z is undefined');
    };
    const fold = foldOn(undefined, {
      detection: { ...detection, close: fail, closeEarly: fail, closeEndpointEpisodes: fail },
      maxOpenEpisodes: 1,
      onRelearn: (key) => relearnt.push(key),
    });
    await fold.open();
    await fold.fold(ndjson([...scan('198.51.100.1', 0), ...scan('198.51.100.2', 10_000)]));
    expect(relearnt).toEqual(['a:address:198.51.100.1', 'a:address:198.51.100.2']);
    await fold.fold(ndjson(scan('198.51.100.3', 20_000)));
    await fold.closeUntil(Infinity);
    expect(fold.openEpisodes).toBe(0);
  });
});
