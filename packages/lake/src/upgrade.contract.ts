import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { alert, callRecords, fullCall, jsonRecords, response } from './contract-rows.ts';
import type { LakeUnderTest } from './lake.contract.ts';
import { migrations } from './migrations.ts';
import { releasedLakes } from './released-lakes.ts';
import { apiCallColumns } from './schema.ts';

/** What an upgrade guarantees for the lakes that people have; run for each kind of connection. */
export function upgradeContract(name: string, open: () => Promise<LakeUnderTest>): void {
  describe(`${name}: the upgrade of a lake`, () => {
    let under: LakeUnderTest;
    beforeAll(async () => {
      under = await open();
    });
    afterAll(() => under.dispose());

    it.each(releasedLakes)('brings $name up to date with every row in it', async ({ version, create }) => {
      const { lake, write } = under;
      const now = Math.floor(Date.now() / 3_600_000) * 3_600_000;
      await write('DROP DATABASE IF EXISTS tripline SYNC');
      await create(lake, write);

      // In that version's form: a call has the fields for which that version had columns.
      const columns = await lake.query<{ name: string }>(
        "SELECT name FROM system.columns WHERE database = 'tripline' AND table = 'api_calls'",
      );
      const known = new Set(columns.map((column) => column.name));
      const call = Object.fromEntries(
        Object.entries(fullCall('kept-0001', now)).filter(([field]) => known.has(field)),
      );
      const open = alert('alert-1', { raisedAt: now, status: 'open' });
      const closed = { ...open, revision: 2, status: 'closed' as const };
      const active = response('response-1', { decidedAt: now, status: 'active' });
      const lifted = { ...active, revision: 2, status: 'lifted' as const };
      const append = (table: string, column: string, format: string, row: object): Promise<void> =>
        write(
          `INSERT INTO tripline.${table} (${column}) SETTINGS async_insert = 0 FORMAT ${format} ${JSON.stringify(row)}`,
        );
      // Twice, as after a crash of the archiver.
      for (let i = 0; i < 2; i++)
        await append('api_calls', Object.keys(call).join(', '), 'JSONEachRow', call);
      for (const row of [open, closed]) await append('alerts', 'alert', 'LineAsString', row);
      const { target, ...withoutTarget } = lifted;
      const asOfVersion =
        version < 5 ? { ...withoutTarget, consumer: { id: target.id, name: target.name } } : lifted;
      for (const row of [active, asOfVersion]) await append('responses', 'response', 'LineAsString', row);

      await lake.migrate({ retentionDays: 30 });
      const rows = (): Promise<unknown[]> =>
        lake.query(
          'SELECT * REPLACE (toUnixTimestamp64Milli(startedAt) AS startedAt) FROM tripline.api_calls ORDER BY id',
        );
      const kept = Object.fromEntries(
        Object.entries(apiCallColumns).map(([column, type]) => [column, call[column] ?? emptyOf(type)]),
      );
      expect(await rows()).toEqual([kept]);
      expect(await lake.alertsSince(0)).toEqual([closed]);
      expect(await lake.responses(10)).toEqual([lifted]);
      const targets = (): Promise<unknown[]> =>
        lake.query(
          'SELECT targetKind, targetId, targetName, consumerId, consumerName FROM tripline.responses ORDER BY id',
        );
      const ofConsumer = { targetKind: 'consumer', targetId: 'c1', targetName: 'Ann' };
      const keptTarget = { ...ofConsumer, consumerId: 'c1', consumerName: 'Ann' };
      expect(await targets()).toEqual([keptTarget]);
      const applied = await lake.query('SELECT version FROM tripline.migrations ORDER BY version');
      expect(applied).toEqual(migrations.map((_, index) => ({ version: index + 1 })));
      expect(version).toBeLessThanOrEqual(migrations.length);

      const today = fullCall('today-0001', now);
      await lake.insert('apiCalls', callRecords([today]));
      expect(await rows()).toEqual([kept, today]);
      const address = { kind: 'address', id: '203.0.113.9' } as const;
      await lake.insert(
        'responses',
        jsonRecords([response('response-2', { target: address, decidedAt: now })]),
      );
      expect(await targets()).toEqual([
        keptTarget,
        { targetKind: 'address', targetId: '203.0.113.9', targetName: '', consumerId: '', consumerName: '' },
      ]);
    });
  });
}

/** What a row shows in a column that came after it was written. */
function emptyOf(type: string): unknown {
  if (type.startsWith('Nullable')) return null;
  if (type.startsWith('Array')) return [];
  if (type.startsWith('Map')) return {};
  if (type === 'Bool') return false;
  return type.includes('String') ? '' : 0;
}
