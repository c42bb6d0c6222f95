import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { alert, bareCall, callRecords, fullCall, jsonRecords, response } from './contract-rows.ts';
import { LakeRefusedError, LakeTooNewError, type Lake } from './lake.ts';
import { migrations } from './migrations.ts';
import { sessionsContract } from './sessions.contract.ts';

/** A lake on storage of its own, empty at first, which can be left and entered again. */
export interface LakeUnderTest {
  lake: Lake;
  /** Closes the lake and opens it on what it left behind. */
  reopen: () => Promise<Lake>;
  /** Runs a statement past the lake, with the right to write. */
  write: (sql: string) => Promise<void>;
  dispose: () => Promise<void>;
}

const dayMs = 86_400_000;

/** What every lake guarantees; run for each kind of connection. */
export function lakeContract(name: string, open: () => Promise<LakeUnderTest>): void {
  describe(`${name}: the lake contract`, () => {
    let under: LakeUnderTest;
    let lake: Lake;
    beforeAll(async () => {
      under = await open();
      lake = under.lake;
      // Several roles may begin at once.
      await Promise.all([1, 2, 3].map(() => lake.migrate({ retentionDays: 30 })));
    });
    afterAll(() => under.dispose());

    // Times near now, as retention begins to count at the real clock; a quarter past a full hour, so no day is split.
    const now = Math.floor(Date.now() / 3_600_000) * 3_600_000;
    const counted = async (ids: string): Promise<{ rows: number; ids: number }> => {
      const sql =
        'SELECT toUInt32(count()) AS rows, toUInt32(uniqExact(id)) AS ids FROM tripline.api_calls WHERE startsWith(id, {ids:String})';
      return (await lake.query<{ rows: number; ids: number }>(sql, { ids }))[0]!;
    };

    it('gives back every field of an API call as it was on the bus', async () => {
      const call = fullCall('full-0001', now);
      await lake.insert('apiCalls', callRecords([call]));
      const [row] = await lake.query(
        'SELECT * REPLACE (toUnixTimestamp64Milli(startedAt) AS startedAt) FROM tripline.api_calls WHERE id = {id:String}',
        { id: call.id },
      );
      expect(row).toEqual(call);
    });

    it('fills what a call leaves out with empty values, and with null where 0 would be a value', async () => {
      await lake.insert('apiCalls', callRecords([bareCall('bare-0001', now)]));
      const [row] = await lake.query('SELECT * FROM tripline.api_calls WHERE id = {id:String}', {
        id: 'bare-0001',
      });
      expect(row).toMatchObject({
        consumerId: '',
        consumerTags: [],
        ip: '',
        latitude: null,
        upstreamMs: null,
        asn: 0,
        query: {},
        refused: false,
      });
    });

    it('takes a field that it does not know yet, as a newer collector may send one', async () => {
      const [newer] = callRecords([bareCall('newer-0001', now)]);
      newer![0]! += 1;
      await lake.insert('apiCalls', [
        Buffer.concat([newer!, Buffer.from('its bytes')]),
        ...callRecords([bareCall('newer-0002', now)]),
      ]);
      expect(await counted('newer-')).toEqual({ rows: 2, ids: 2 });
    });

    it('takes records of an earlier version, which have fewer fields, beside those of today, and JSON of version 0.1', async () => {
      const full = { ...fullCall('older-0001', now), workspace: 'w' };
      const [today] = callRecords([full]);
      const earlier = today!.subarray(0, -2);
      earlier[0]! -= 1;
      const rest = callRecords([{ ...full, id: 'older-0002' }]);
      const json = jsonRecords([{ ...full, id: 'older-0003', fromTheFuture: [1] }]);
      await lake.insert('apiCalls', [...json, earlier, ...rest]);
      const rows = await lake.query(
        `SELECT * REPLACE (toUnixTimestamp64Milli(startedAt) AS startedAt) FROM tripline.api_calls
         WHERE startsWith(id, 'older-') ORDER BY id`,
      );
      expect(rows).toEqual([
        { ...full, workspace: '' },
        { ...full, id: 'older-0002' },
        { ...full, id: 'older-0003' },
      ]);
    });

    it('counts a batch once that is written again, also after a restart', async () => {
      const batch = callRecords([bareCall('once-0001', now), bareCall('once-0002', now - dayMs)]);
      await lake.insert('apiCalls', batch);
      await lake.insert('apiCalls', batch);
      expect(await counted('once-')).toEqual({ rows: 2, ids: 2 });
      lake = await under.reopen();
      await lake.insert('apiCalls', batch);
      expect(await counted('once-')).toEqual({ rows: 2, ids: 2 });
    });

    it('counts a call once whose id comes again in other batches, before the engine has merged them and after', async () => {
      const again = bareCall('twice-0001', now);
      await under.write('SYSTEM STOP MERGES tripline.api_calls');
      await lake.insert('apiCalls', callRecords([again, bareCall('twice-0002', now)]));
      await lake.insert('apiCalls', callRecords([again, bareCall('twice-0003', now - dayMs)]));
      expect(await counted('twice-')).toEqual({ rows: 3, ids: 3 });
      // Within one batch too, on a day that has no other.
      const alone = bareCall('twice-0004', now - 9 * dayMs);
      await lake.insert('apiCalls', callRecords([alone, alone]));
      expect(await counted('twice-')).toEqual({ rows: 4, ids: 4 });
      await under.write('SYSTEM START MERGES tripline.api_calls');
      await under.write('OPTIMIZE TABLE tripline.api_calls FINAL');
      expect(await counted('twice-')).toEqual({ rows: 4, ids: 4 });
    });

    it('keeps calls apart that differ in their id only', async () => {
      const batch = Array.from({ length: 500 }, (_, i) => bareCall(`apart-${i}`, now));
      await lake.insert('apiCalls', callRecords(batch));
      await under.write('OPTIMIZE TABLE tripline.api_calls FINAL');
      expect(await counted('apart-')).toEqual({ rows: 500, ids: 500 });
    });

    it('writes all of a large batch over several days, from several writers at once', async () => {
      const batches = Array.from({ length: 4 }, (_, b) =>
        jsonRecords(
          Array.from({ length: 5_000 }, (__, i) => bareCall(`large-${b}-${i}`, now - (i % 3) * dayMs)),
        ),
      );
      await Promise.all(batches.map((batch) => lake.insert('apiCalls', batch)));
      await Promise.all(batches.map((batch) => lake.insert('apiCalls', batch)));
      expect(await counted('large-')).toEqual({ rows: 20_000, ids: 20_000 });
    });

    it.each([
      ['text where a number is due', '{"id":"bad-0001","startedAt":1,"status":"abc"}'],
      ['a line that was cut off', '{"id":"bad-0001","startedAt":'],
      ['no object', '[]'],
      ['no JSON', 'garbage'],
      ['fewer bytes than it says', '\x30\x08bad-0001'],
      ['nothing', ''],
    ])('refuses a batch with %s as a whole, and names the fault without the row', async (_, bad) => {
      const good = callRecords([bareCall('bad-0000', now)]);
      const batch = [...good, Buffer.from(bad), ...good];
      const failure: unknown = await lake.insert('apiCalls', batch).catch((error: unknown) => error);
      expect(failure).toBeInstanceOf(LakeRefusedError);
      expect((failure as Error).message).toContain('tripline.api_calls');
      expect((failure as Error).message).not.toContain('bad-000');
      expect((await counted('bad-')).rows).toBe(0);
    });

    it('refuses alerts and responses that are no objects with an id', async () => {
      for (const table of ['alerts', 'responses'] as const) {
        for (const bad of ['{"id":"x"', '[]', '{"revision":1}', 'garbage']) {
          await expect(lake.insert(table, [Buffer.from(bad)]), `${table}: ${bad}`).rejects.toBeInstanceOf(
            LakeRefusedError,
          );
        }
      }
    });

    it('gives back the latest state of each alert exactly as it was published, oldest first', async () => {
      const first = alert('alert-1', { revision: 1, raisedAt: now - 2_000, status: 'open' });
      const last = { ...first, revision: 3, status: 'closed' as const, count: 999 };
      const other = alert('alert-2', {
        raisedAt: now - 5_000,
        evidence: { nested: { deep: [1, 2.5, null, true, { a: 'ü \\ " \n 中 😀' }] }, big: 1e300 },
        fromTheFuture: { kept: true },
      });
      const older = alert('alert-0', { raisedAt: now - 60_000 });
      await lake.insert('alerts', jsonRecords([first, older, last]));
      await lake.insert('alerts', jsonRecords([other, { ...first, revision: 2 }]));
      expect(await lake.alertsSince(now - 10_000)).toEqual([other, last]);
      expect(await lake.alertsSince(now - 2_000)).toEqual([last]);
      expect(await lake.alertsSince(now)).toEqual([]);
      const found = await lake.query(
        "SELECT actorName, endpoint, toUInt32(count) AS count FROM tripline.alerts WHERE id = 'alert-1'",
      );
      expect(found).toEqual([{ actorName: 'Ann "A" O\'Neill', endpoint: '', count: 999 }]);
      const open = await lake.query(
        "SELECT id FROM tripline.alerts WHERE status = 'open' AND raisedAt >= fromUnixTimestamp64Milli({from:Int64})",
        { from: now - 10_000 },
      );
      expect(open).toEqual([{ id: 'alert-2' }]);
    });

    it('gives back the latest state of each response, newest decision first', async () => {
      const one = response('resp-1', { revision: 1, decidedAt: now + 10_000 });
      const two = response('resp-2', { revision: 1, decidedAt: now + 20_000 });
      const lifted = { ...one, revision: 2, status: 'lifted' as const, removedAt: now + 30_000 };
      await lake.insert('responses', jsonRecords([lifted, two]));
      await lake.insert('responses', jsonRecords([one]));
      expect(await lake.responses(2)).toEqual([two, lifted]);
      expect(await lake.responses(1)).toEqual([two]);
    });

    sessionsContract(() => lake, now);

    it('takes parameters as values, whatever is in them', async () => {
      const odd = `'; DROP TABLE tripline.alerts; -- \\ "ü" {x:String}`;
      const rows = await lake.query('SELECT {odd:String} AS odd, {n:UInt32} AS n', { odd, n: 41 });
      expect(rows).toEqual([{ odd, n: 41 }]);
    });

    it.each([
      ['INSERT', "INSERT INTO tripline.alerts (alert) VALUES ('{}')"],
      ['DROP', 'DROP TABLE tripline.alerts'],
      ['ALTER', 'ALTER TABLE tripline.alerts DELETE WHERE 1'],
      ['a second statement', 'SELECT 1; DROP TABLE tripline.alerts'],
      ['other limits', 'SELECT 1 SETTINGS max_execution_time = 0'],
      ['the file system', "SELECT * FROM file('/etc/hostname', LineAsString)"],
    ])('does not let a query reach for %s', async (_, sql) => {
      // A server takes one statement at a time, so the second one is a mistake in the first.
      await expect(lake.query(sql)).rejects.toThrow(/readonly|Multi-statements are not allowed/i);
    });

    it('ends a query that gives too many rows, or has a fault, with an error that says so', async () => {
      await expect(lake.query('SELECT number FROM numbers(100001)')).rejects.toThrow(
        /Limit for result exceeded/,
      );
      await expect(lake.query('SELECT nothing FROM tripline.api_calls')).rejects.toThrow(/nothing/);
      await expect(lake.query('SELECT {missing:String}')).rejects.toThrow(/missing/);
    });

    it('gives no row of a query that failed half-way to the next one', async () => {
      const failing = 'SELECT number FROM numbers(90000) WHERE throwIf(number = 80000) = 0';
      for (let i = 0; i < 3; i++) {
        await expect(lake.query(failing)).rejects.toThrow();
        expect(await lake.query('SELECT 1 AS one')).toEqual([{ one: 1 }]);
      }
    });

    it('can be upgraded again without effect', async () => {
      const before = await counted('');
      await lake.migrate({ retentionDays: 30 });
      await lake.migrate({ retentionDays: 30 });
      expect(await counted('')).toEqual(before);
      const versions = await lake.query('SELECT version FROM tripline.migrations ORDER BY version');
      expect(versions).toEqual(migrations.map((_, index) => ({ version: index + 1 })));
    });

    it('lets go of calls and alerts beyond the retention, and of responses that are over', async () => {
      await lake.insert('apiCalls', callRecords([bareCall('gone-0001', now - 20 * dayMs)]));
      await lake.insert('alerts', jsonRecords([alert('gone-alert', { raisedAt: now - 20 * dayMs })]));
      const inForce = response('gone-not', { decidedAt: now - 20 * dayMs, status: 'active' });
      const over = response('gone-over', { decidedAt: now - 20 * dayMs, status: 'expired' });
      await lake.insert('responses', jsonRecords([inForce, over]));
      const left = async (): Promise<unknown[]> =>
        lake.query(
          `SELECT id FROM tripline.api_calls WHERE startsWith(id, 'gone-') UNION ALL
           SELECT id FROM tripline.alerts WHERE startsWith(id, 'gone-') UNION ALL
           SELECT id FROM tripline.responses WHERE startsWith(id, 'gone-') ORDER BY id`,
        );
      expect(await left()).toHaveLength(4);
      await lake.migrate({ retentionDays: 10 });
      for (const table of ['api_calls', 'alerts', 'responses'])
        await under.write(`OPTIMIZE TABLE tripline.${table} FINAL`);
      expect(await left()).toEqual([{ id: 'gone-not' }]);
    });

    it.each([0, 1.5, 3_651, Number.NaN])(
      'refuses to keep rows for %s days, and says what is allowed',
      async (days) => {
        await expect(lake.migrate({ retentionDays: days })).rejects.toThrow(/from 1 to 3650/);
      },
    );

    // Last, as no version of the code that is tested here can open this lake any more.
    it('refuses tables of a newer version, and says what to do', async () => {
      await under.write("INSERT INTO tripline.migrations VALUES (1000, 'later', now())");
      const failure: unknown = await lake.migrate({ retentionDays: 30 }).catch((error: unknown) => error);
      expect(failure).toBeInstanceOf(LakeTooNewError);
      expect((failure as Error).message).toMatch(
        new RegExp(`version 1000.*up to ${migrations.length}:.*Run that version`),
      );
    });
  });
}
