import { recordsOf } from '@tripline/bus';
import { LakeTooNewError } from '@tripline/lake';
import { afterEach, describe, expect, it } from 'vitest';
import { lines, MemoryLake, Site, until } from './test-support.ts';

let site: Site;
afterEach(() => site.dispose());
const textsOf = (body: Buffer): string[] => Array.from(recordsOf(body), (record) => record.toString());
const never = (): Promise<void> => new Promise(() => undefined);

describe('archiver', () => {
  it('takes every API call, alert and response to its table, as they are and in order', async () => {
    site = new Site();
    const lake = new MemoryLake();
    const calls = lines(0, 500);
    await site.publish('api-calls', calls.slice(0, 300));
    const archiver = site.start(lake);
    await site.publish('api-calls', calls.slice(300));
    await site.publish('alerts', ['{"id":"a1"}', '{"id":"ü"}']);
    await site.publish('responses', ['{"id":"r1"}']);
    await until(
      'all is there',
      () => lake.rows['apiCalls']!.length === 500 && lake.rows['responses']!.length === 1,
    );
    expect(lake.rows['apiCalls']).toEqual(calls);
    expect(lake.rows['alerts']).toEqual(['{"id":"a1"}', '{"id":"ü"}']);
    expect(archiver.health()).toEqual({ alive: true, ready: true, detail: '503 records archived' });
    expect(await site.metric('tripline_archiver_records_total')).toBe(503);
    expect(await site.metric('tripline_archiver_last_success_time_seconds')).toBeGreaterThan(1.7e9);
    await until('nothing lags', async () => (await site.bus.lag()).every(({ records }) => records === 0));
  });

  it('gathers records for larger batches, but no larger than allowed', async () => {
    site = new Site();
    const lake = new MemoryLake();
    for (const line of lines(0, 100)) await site.publish('api-calls', [line]);
    site.start(lake, { flushAfterMs: 60_000, maxRecords: 40 });
    for (const line of lines(100, 120)) await site.publish('api-calls', [line]);
    await until('full batches are written', () => lake.rows['apiCalls']!.length >= 100);
    expect(lake.inserts.length).toBeLessThanOrEqual(3);
  });

  it('writes what it holds when it is stopped', async () => {
    site = new Site();
    const lake = new MemoryLake();
    const archiver = site.start(lake, { flushAfterMs: 60_000 });
    await until('ready', () => archiver.health().ready);
    await site.publish('api-calls', lines(0, 7));
    await site.publish('alerts', ['{"id":"a1"}']);
    // A consumer beside it has seen the records, so the archiver's has been woken as well.
    await new Promise<void>((resolve) => {
      site.bus.consume({ topic: 'alerts', group: 'beside', onBatch: () => Promise.resolve(resolve()) });
    });
    await archiver.stop();
    await archiver.ended;
    expect(lake.rows['apiCalls']).toHaveLength(7);
  });
});

describe('archiver: crash and restart', () => {
  it.each(['before the rows were there', 'after the rows were there'])(
    'archives each record once after a crash %s, more records having come meanwhile',
    async (moment) => {
      site = new Site();
      const lake = new MemoryLake();
      let hanging = false;
      const hang = (): Promise<void> => ((hanging = true), never());
      if (moment.startsWith('before')) lake.before = hang;
      else lake.after = hang;
      await site.publish('api-calls', lines(0, 100));
      site.start(lake);
      await until('an insert is under way', () => hanging);
      await site.publish('api-calls', lines(100, 150));
      await site.crash();

      await site.publish('api-calls', lines(150, 260));
      lake.before = lake.after = () => Promise.resolve();
      site.start(lake, { maxRecords: 1_000 });
      await until('all is there', () => lake.rows['apiCalls']!.length >= 260);
      await until('nothing lags', async () => (await site.bus.lag()).every(({ records }) => records === 0));
      expect(lake.rows['apiCalls']).toEqual(lines(0, 260));
    },
  );

  it('archives the records of a new bus, which takes the place of a lost one with the same offsets', async () => {
    site = new Site();
    const lake = new MemoryLake();
    await site.publish('api-calls', lines(0, 50));
    site.start(lake);
    await until('all is there', () => lake.rows['apiCalls']!.length === 50);
    await site.crash('another-bus');
    await site.publish('api-calls', lines(500, 520));
    site.start(lake);
    await until('all is there', () => lake.rows['apiCalls']!.length === 70);
  });

  it('begins where it ended, and writes nothing again, when it was stopped in good order', async () => {
    site = new Site();
    const lake = new MemoryLake();
    await site.publish('api-calls', lines(0, 50));
    const before = site.start(lake);
    await until('all is there', () => lake.rows['apiCalls']!.length === 50);
    await before.stop();
    await site.crash();
    site.start(lake);
    await site.publish('api-calls', lines(50, 60));
    await until('all is there', () => lake.rows['apiCalls']!.length === 60);
    expect(lake.inserts.reduce((sum, { rows }) => sum + rows, 0)).toBe(60);
  });

  it('passes nothing on the bus that failed to be written, though later records were written', async () => {
    site = new Site();
    const lake = new MemoryLake();
    let fail: (error: Error) => void = () => undefined;
    let begun = false;
    lake.before = () => ((begun = true), new Promise((_, reject) => (fail = reject)));
    await site.publish('api-calls', lines(0, 5));
    const archiver = site.start(lake);
    await until('an insert is under way', () => begun);
    await site.publish('api-calls', lines(5, 9));
    const stopped = archiver.stop();
    lake.before = () => Promise.resolve();
    fail(new Error('connection reset'));
    await stopped;
    await site.crash();
    site.start(lake);
    await until('all is there', () => lake.rows['apiCalls']!.length === 9);
    expect(lake.rows['apiCalls']).toEqual(lines(0, 9));
  });

  it('counts and tells what the bus no longer has', async () => {
    let clock = 1_800_000_000_000;
    site = new Site({ maxBytes: 20_000, keepBytes: 0, now: () => clock });
    const lake = new MemoryLake();
    await site.publish('api-calls', lines(0, 10));
    const before = site.start(lake);
    await until('all is there', () => lake.rows['apiCalls']!.length === 10);
    await before.stop();
    // Nobody holds the records of a group back that was not heard of for so long.
    clock += 8 * 86_400_000;
    for (let i = 10; i < 100; i += 30) await site.publish('api-calls', lines(i, i + 30));
    site.start(lake);
    await until('the newest is there', () => lake.rows['apiCalls']!.at(-1)?.includes('call-000099') ?? false);
    expect(lake.rows['apiCalls']!.length).toBeLessThan(100);
    expect(await site.metric('tripline_archiver_jumps_total')).toBe(1);
  });
});

describe('archiver: a lake that fails', () => {
  it('is not ready while the lake is opening, fails or comes back, and loses nothing', async () => {
    site = new Site();
    const lake = new MemoryLake();
    let attempts = 0;
    const archiver = site.start(lake, {
      lake: () => (++attempts < 4 ? Promise.reject(new Error('disk not mounted')) : Promise.resolve(lake)),
    });
    expect(archiver.health()).toMatchObject({ alive: true, ready: false });
    await site.publish('api-calls', lines(0, 5));
    await until('all is there', () => lake.rows['apiCalls']!.length === 5);
    expect(attempts).toBe(4);
    expect(archiver.health().ready).toBe(true);

    lake.before = () => Promise.reject(new Error('No space left on device'));
    await site.publish('api-calls', lines(5, 9));
    await until('it says so', () => /No space left/.test(archiver.health().detail));
    expect(archiver.health()).toMatchObject({ alive: true, ready: false });
    const failures = await site.metric('tripline_archiver_failures_total');
    expect(failures).toBeGreaterThanOrEqual(4);

    lake.before = () => Promise.resolve();
    await until('all is there', () => lake.rows['apiCalls']!.length === 9);
    await until('it is ready again', () => archiver.health().ready);
  });

  it('refuses nobody on the bus while the lake is away: the oldest calls are missing then, and counted', async () => {
    site = new Site({ maxBytes: 60_000, keepBytes: 0 });
    const lake = new MemoryLake();
    lake.before = () => Promise.reject(new Error('down'));
    // It reads no further than one batch ahead, as with the largest backlog.
    const archiver = site.start(lake, { maxRecords: 1 });
    const processed: string[] = [];
    site.bus.consume({
      topic: 'api-calls',
      group: 'processor',
      onBatch: ({ body }) => {
        processed.push(...textsOf(body));
        return Promise.resolve();
      },
    });
    for (const line of lines(0, 1_000)) await site.publish('api-calls', [line]);
    await until('the processor has all', () => processed.length === 1_000);
    expect(archiver.health()).toMatchObject({ alive: true, ready: false });
    lake.before = () => Promise.resolve();
    await until('the newest is there', () => lake.rows['apiCalls']!.at(-1)?.includes('call-000999') ?? false);
    const lost = await site.metric('tripline_archiver_lost_records_total');
    expect(lost).toBeGreaterThan(100);
    expect(lake.rows['apiCalls']).toHaveLength(1_000 - lost);
    const row = (await site.bus.lag()).find((one) => one.topic === 'api-calls' && one.group === 'archiver');
    expect(row?.lost).toBe(lost);
    expect(await site.metric('tripline_archiver_jumps_total')).toBeLessThan(20);
  });

  it('writes again, and counts once, when the answer to an insert got lost', async () => {
    site = new Site();
    const lake = new MemoryLake();
    let lost = 0;
    lake.after = () => (++lost < 3 ? Promise.reject(new Error('connection reset')) : Promise.resolve());
    await site.publish('api-calls', lines(0, 20));
    site.start(lake);
    await until('it was tried three times', () => lake.inserts.length === 3);
    expect(lake.rows['apiCalls']).toEqual(lines(0, 20));
  });

  it('does not take from the bus more than two batches while the lake is down, and goes on afterwards', async () => {
    site = new Site();
    const lake = new MemoryLake();
    let asked = 0;
    lake.before = () => (++asked, Promise.reject(new Error('down')));
    site.start(lake, { maxRecords: 10 });
    for (let i = 0; i < 100; i += 5) await site.publish('api-calls', lines(i, i + 5));
    await until('it is at it', () => asked > 5);
    const behind = (await site.bus.lag()).find(
      ({ topic, group }) => topic === 'api-calls' && group === 'archiver',
    );
    expect(behind?.records).toBe(100);
    lake.before = () => Promise.resolve();
    await until('all is there', () => lake.rows['apiCalls']!.length === 100);
    expect(lake.rows['apiCalls']!.map((row) => (JSON.parse(row) as { id: string }).id)).toEqual(
      Array.from({ length: 100 }, (_, i) => `call-${String(i).padStart(6, '0')}`),
    );
  });

  it('stops at once while the lake is down or opening, and archives the rest after the next start', async () => {
    site = new Site();
    const lake = new MemoryLake();
    const opening = site.start(lake, { lake: never as () => Promise<never>, maxRecords: 1 });
    await site.publish('api-calls', lines(0, 5));
    await opening.stop();
    await opening.ended;

    lake.before = () => Promise.reject(new Error('down'));
    const down = site.start(lake, { maxRecords: 1, retryMs: 60_000, retryMaxMs: 60_000 });
    await until('it says so', () => /down/.test(down.health().detail));
    await down.stop();
    await down.ended;

    lake.before = () => Promise.resolve();
    site.start(lake);
    await until('all is there', () => lake.rows['apiCalls']!.length === 5);
  });

  it('ends when the lake is of a newer version', async () => {
    site = new Site();
    const lake = new MemoryLake();
    lake.onMigrate = () => Promise.reject(new LakeTooNewError('schema version 9'));
    const archiver = site.start(lake);
    await expect(archiver.ended).rejects.toThrow('schema version 9');
  });

  it('is not alive when an insert never ends', async () => {
    site = new Site();
    const lake = new MemoryLake();
    lake.before = never;
    let clock = 1_000_000;
    await site.publish('api-calls', lines(0, 5));
    let begun = false;
    lake.before = () => ((begun = true), never());
    const archiver = site.start(lake, { now: () => clock });
    await until('an insert is under way', () => begun);
    expect(archiver.health().alive).toBe(true);
    clock += 121_000;
    expect(archiver.health()).toMatchObject({ alive: false, ready: false });
    await site.crash();
  });
});

describe('archiver: records that the lake refuses', () => {
  const poisoned = (all: string[], ...at: number[]): string[] =>
    all.map((line, i) => (at.includes(i) ? '{"id":"poison"}' : line));

  it('takes all others, and keeps each of them with its place among the dead letters', async () => {
    site = new Site();
    const lake = new MemoryLake();
    const letters: string[] = [];
    site.bus.consume({
      topic: 'dead-letters',
      group: 'test',
      onBatch: ({ body }) => (letters.push(...textsOf(body)), Promise.resolve()),
    });
    await site.publish('api-calls', poisoned(lines(0, 100), 0, 41, 42, 99));
    site.start(lake, { now: () => 1_234 });
    await until('all others are there', () => lake.rows['apiCalls']!.length === 96);
    await until('four letters', () => letters.length === 4);
    expect(letters.map((letter): unknown => JSON.parse(letter))).toContainEqual({
      receivedAt: 1_234,
      reason: 'lake-refused',
      detail: 'api-calls/0 at 41: it does not take a row of these',
      sample: '{"id":"~text~ 6 chars"}',
    });
    expect(await site.metric('tripline_archiver_refused_total')).toBe(4);
    expect(await site.metric('tripline_archiver_records_total')).toBe(96);
  });

  it('archives each of the others once when it crashes among the halves', async () => {
    site = new Site();
    const lake = new MemoryLake();
    await site.publish('api-calls', poisoned(lines(0, 64), 37));
    for (let crashAt = 1; crashAt <= 7; crashAt++) {
      let inserts = 0;
      let hanging = false;
      lake.after = () => (++inserts === 2 ? ((hanging = true), never()) : Promise.resolve());
      const archiver = site.start(lake);
      await until(
        'it hangs or is done',
        async () => hanging || (archiver.health().ready && (await lag()) === 0),
      );
      if (!(hanging as boolean)) break;
      await site.crash();
    }
    lake.after = () => Promise.resolve();
    site.start(lake);
    await until('nothing lags', async () => (await lag()) === 0);
    expect(new Set(lake.rows['apiCalls']).size).toBe(63);
    expect(lake.rows['apiCalls']).toHaveLength(63);
  });

  it('goes on when the bus is too full for the dead letter', async () => {
    site = new Site({ maxBytes: 30_000, keepBytes: 0 });
    const lake = new MemoryLake();
    lake.before = () => Promise.reject(new Error('down'));
    const archiver = site.start(lake);
    await site.publish('api-calls', poisoned(lines(0, 20), 3));
    await until('it is at it', () => /down/.test(archiver.health().detail));
    // A reader of the dead letters that never passes any holds them all back, until not one more fits.
    const slow = { topic: 'dead-letters', group: 'slow', startAt: () => Promise.resolve(0) } as const;
    site.bus.consume({ ...slow, onBatch: () => Promise.resolve() });
    await until('the reader is known', async () =>
      (await site.bus.lag()).some(({ group }) => group === 'slow'),
    );
    while (
      await site.publish('dead-letters', ['{"id":"filling"}']).then(
        () => true,
        () => false,
      )
    );
    lake.before = () => Promise.resolve();
    await until('the others are there', () => lake.rows['apiCalls']!.length === 19);
    expect(await site.metric('tripline_archiver_refused_total')).toBe(1);
  });

  async function lag(): Promise<number> {
    return (await site.bus.lag())
      .filter(({ group }) => group === 'archiver')
      .reduce((sum, { records }) => sum + records, 0);
  }
});
