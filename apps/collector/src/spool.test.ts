import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import type { BusRecord } from '@tripline/bus';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { Spool } from './spool.ts';

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

function scratch(): string {
  const path = mkdtempSync(join(tmpdir(), 'tripline-spool-'));
  undo.push(() => rmSync(path, { recursive: true, force: true }));
  return join(path, 'spool');
}

async function opened(dir: string, maxBytes = 2 ** 20): Promise<Spool> {
  const spool = new Spool({ dir, maxBytes });
  await spool.load();
  undo.push(() => spool.close());
  return spool;
}

let made = 0;
const record = (pad = 10): BusRecord => ({
  key: `consumer:${made % 3}`,
  value: Buffer.from(JSON.stringify({ id: made++, pad: 'x'.repeat(pad) })),
});
const many = (count: number, pad?: number): BusRecord[] => Array.from({ length: count }, () => record(pad));

const textOf = ({ key, value }: BusRecord): string => `${key} ${value.toString()}`;

const segmentsIn = (dir: string): string[] => readdirSync(dir).filter((name) => name.endsWith('.spool'));
const sizeOf = (dir: string): number =>
  segmentsIn(dir).reduce((sum, name) => sum + statSync(join(dir, name)).size, 0);

/** All that is in it, in order. */
async function drained(spool: Spool): Promise<{ records: BusRecord[]; damaged: number }> {
  const records: BusRecord[] = [];
  let damaged = 0;
  for (let batch = await spool.peek(); batch; batch = await spool.peek()) {
    records.push(...batch.records);
    damaged += batch.damaged;
    await spool.commit(batch);
  }
  return { records, damaged };
}

describe('the spool', () => {
  it('gives what it took, in order, through any sequence of appends, reads and crashes, and never grows beyond its bound', async () => {
    const maxBytes = 20_000;
    const step = fc.oneof(
      { weight: 4, arbitrary: fc.record({ do: fc.constant('append'), count: fc.nat(20), pad: fc.nat(600) }) },
      { weight: 3, arbitrary: fc.record({ do: fc.constant('commit') }) },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('peek and crash') }) },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('crash'), torn: fc.nat(40) }) },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const dir = scratch();
        let spool = await opened(dir, maxBytes);
        let model: BusRecord[] = [];
        for (const one of steps) {
          if ('pad' in one) {
            const records = many(one.count, one.pad);
            const { taken, reason } = await spool.append(records);
            expect(reason).toBe(taken < records.length ? 'spool-full' : undefined);
            // Full means full: what it holds, the next record and a segment that is half read.
            if (reason) expect(spool.bytes).toBeGreaterThan(maxBytes - 900);
            model.push(...records.slice(0, taken));
          } else if (one.do === 'commit') {
            const batch = await spool.peek();
            expect(batch?.records ?? []).toEqual(model.slice(0, batch?.records.length ?? 0));
            if (batch) await spool.commit(batch);
            model = model.slice(batch?.records.length ?? 0);
          } else {
            if (one.do === 'peek and crash') await spool.peek();
            // Another process finds the files as they are.
            await spool.close();
            const last = segmentsIn(dir).sort().at(-1);
            if (last !== undefined && 'torn' in one) {
              appendFileSync(join(dir, last), `0badc0de\t"k"\t{"torn":"${'x'.repeat(one.torn)}`);
            }
            spool = await opened(dir, maxBytes);
            expect(spool.restored).toBe(model.length);
          }
          expect(spool.records).toBe(model.length);
          expect(sizeOf(dir)).toBe(spool.bytes);
          expect(spool.bytes).toBeLessThanOrEqual(maxBytes + 100);
        }
        expect(await drained(spool)).toEqual({ records: model, damaged: 0 });
        expect(segmentsIn(dir)).toEqual([]);
        expect(spool.bytes).toBe(0);
      }),
      { numRuns: 60 },
    );
  });

  it('takes appends while it is read, and keeps their order, wherever reading and writing meet', async () => {
    for (const [batches, perBatch, inFlight] of [
      [500, 1, 5],
      [200, 30, 2],
      [200, 40, 3],
    ] as const) {
      // Segments of 8 kB: the reader is in the last one again and again.
      const spool = await opened(scratch(), 16 * 8_000);
      const sent: BusRecord[] = [];
      const got: BusRecord[] = [];
      let under = 0;
      for (let batch = 0; batch < batches || under > 0 || spool.records > 0;) {
        if (batch < batches && under < inFlight && spool.bytes < 60_000) {
          const records = many(perBatch, 200);
          sent.push(...records);
          under++;
          batch++;
          void spool.append(records).then(({ taken }) => {
            expect(taken).toBe(perBatch);
            under--;
          });
        }
        const read = await spool.peek();
        if (read) {
          expect(read.damaged).toBe(0);
          got.push(...read.records);
          await spool.commit(read);
        } else await new Promise((resolve) => setImmediate(resolve));
      }
      expect(got.map(textOf)).toEqual(sent.map(textOf));
    }
  });

  it('is not misled by a segment that the writer removes while the reader looks at it', async () => {
    const spool = await opened(scratch(), 16 * 1_000);
    await spool.append(many(10, 100));
    const first = (await spool.peek())!;
    // The next ones go to two new segments; the first cannot be removed while its successor is not there yet.
    const [second, third] = [many(10, 100), many(10, 100)];
    const appended = spool.append(second);
    await Promise.resolve();
    await Promise.resolve();
    const later = spool.append(third);
    await spool.commit(first);
    await appended;
    const looking = spool.peek();
    await later;
    const looked = (await looking)!;
    await spool.commit(looked);
    expect((await drained(spool)).records).toEqual([...second, ...third].slice(looked.records.length));
  });

  it('repeats at most what was not committed, and never reads a new segment from where an old one was left', async () => {
    const dir = scratch();
    const first = await opened(dir);
    await first.append(many(900, 1_000));
    const batch = (await first.peek())!;
    await first.commit(batch);
    await drained(first);
    await first.close();
    const second = await opened(dir);
    const records = many(5);
    await second.append(records);
    expect((await drained(second)).records).toEqual(records);
  });

  it('passes over a damaged record, counts it, and gives all others', async () => {
    const dir = scratch();
    const spool = await opened(dir);
    const records = many(50, 100);
    await spool.append(records);
    const path = join(dir, segmentsIn(dir)[0]!);
    const bytes = readFileSync(path);
    // Within the pad of a record, in base64.
    bytes.write('P', bytes.indexOf('eHh4', 3_000));
    writeFileSync(path, bytes);
    const { records: got, damaged } = await drained(spool);
    expect(damaged).toBe(1);
    expect(got.length).toBe(49);
    expect(records).toEqual(expect.arrayContaining(got));
    expect(spool.records).toBe(0);
  });

  it('gives any bytes as they were, and the records that version 0.1 left', async () => {
    const dir = scratch();
    mkdirSync(dir);
    const old = '"consumer:ü"\t{"id":"ü"}';
    writeFileSync(join(dir, '0000000001.spool'), `${crc32(old).toString(16).padStart(8, '0')}\t${old}\n`);
    const spool = await opened(dir);
    const records = [Buffer.of(), Buffer.of(10, 9, 0, 0xff, 10), Buffer.from('{\n')].map((value) => ({
      key: 'k\n',
      value,
    }));
    await spool.append(records);
    expect(await drained(spool)).toEqual({
      records: [{ key: 'consumer:ü', value: Buffer.from('{"id":"ü"}') }, ...records],
      damaged: 0,
    });
  });

  it('counts what somebody deleted or cut off as lost, and goes on', async () => {
    const dir = scratch();
    const spool = await opened(dir, 16 * 2_000);
    for (let i = 0; i < 3; i++) await spool.append(many(20, 100));
    const [first, second] = segmentsIn(dir).sort();
    unlinkSync(join(dir, first!));
    writeFileSync(join(dir, second!), readFileSync(join(dir, second!)).subarray(0, 1_000));
    const { records, damaged } = await drained(spool);
    expect(records.length).toBeGreaterThanOrEqual(20);
    expect(records.length + damaged).toBe(60);
    expect(spool.records).toBe(0);
  });

  it('says that the disk is full, keeps what it has, and takes records again when there is room', async () => {
    const dir = scratch();
    const spool = await opened(dir);
    // The kernel's own full disk, where the next segment will be.
    symlinkSync('/dev/full', join(dir, '0000000001.spool'));
    const refused = await spool.append(many(3));
    expect(refused).toMatchObject({ taken: 0, reason: 'spool-error' });
    expect('problem' in refused && refused.problem).toMatch(/cannot be written: ENOSPC/);
    expect(spool.records).toBe(0);
    unlinkSync(join(dir, '0000000001.spool'));
    const records = many(3);
    expect(await spool.append(records)).toEqual({ taken: 3 });
    expect((await drained(spool)).records).toEqual(records);
  });

  it('says that its directory cannot be made, and works when it can', async () => {
    const dir = scratch();
    writeFileSync(dir, 'a file in its place');
    const spool = new Spool({ dir, maxBytes: 10_000 });
    await expect(spool.load()).rejects.toThrow(/EEXIST/);
    expect(await spool.append(many(1))).toMatchObject({ taken: 0, reason: 'spool-error' });
    unlinkSync(dir);
    expect(await spool.append(many(2))).toEqual({ taken: 2 });
    expect(spool.records).toBe(2);
    await spool.close();
  });
});
