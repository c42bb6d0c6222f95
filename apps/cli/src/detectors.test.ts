import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { parameters } from './parameters.ts';
import { series } from './series.ts';

const folder = mkdtempSync(join(tmpdir(), 'tripline-detectors-'));
let output = '';
let errors = '';

beforeEach(() => {
  output = '';
  errors = '';
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => ((output += String(text)), true));
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => ((errors += String(text)), true));
});
afterEach(() => void vi.restoreAllMocks());
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, lines: readonly string[]): string {
  const path = join(folder, name);
  writeFileSync(path, lines.map((line) => `${line}\n`).join(''));
  return path;
}

describe('tripline series', () => {
  it('prints one row per row, with the times and values as they came', async () => {
    const rows = Array.from(
      { length: 60 },
      (_, at) => `${1_770_000_000 + at * 3_600},${at === 50 ? 5_000 : 100 + (at % 3)}`,
    );
    expect(await series([file('a.csv', ['timestamp,value', ...rows])])).toBe(0);
    const lines = output.trimEnd().split('\n');
    expect(lines[0]).toBe('timestamp,value,expected,low,high,score,alert');
    expect(lines.slice(1).map((line) => line.split(',').slice(0, 2).join(','))).toEqual(rows);
    expect(lines.flatMap((line, at) => (line.endsWith(',1') ? [at] : []))).toEqual([51]);
  });

  it('takes the same series with ISO times, other columns and quotes for the same', async () => {
    const values = Array.from({ length: 40 }, (_, at) => 10 + (at % 5));
    await series([
      file('b.csv', [
        'timestamp,value',
        ...values.map((value, at) => `${1_770_000_000_000 + at * 60_000},${value}`),
      ]),
    ]);
    const scores = output.split('\n').map((line) => line.split(',').slice(2).join());
    output = '';
    const iso = values.map((value, at) => {
      const time = new Date(1_770_000_000_000 + at * 60_000).toISOString().slice(0, 19).replace('T', ' ');
      return `"x","${value}","${time}"`;
    });
    await series([file('c.csv', ['"Label","Value","TimeStamp"', ...iso])]);
    expect(output.split('\n').map((line) => line.split(',').slice(2).join())).toEqual(scores);
  });

  it('keeps the place of rows that cannot be read, says which, and ends with 1', async () => {
    const path = file('d.csv', [
      'timestamp,value',
      'yesterday,1',
      '2026-01-01T00:00:00Z,many',
      '2026-01-01T01:00:00Z,nan',
    ]);
    expect(await series([path])).toBe(1);
    expect(output.trimEnd().split('\n').slice(1)).toEqual([
      'yesterday,1,,,,0,0',
      '2026-01-01T00:00:00Z,many,,,,0,0',
      '2026-01-01T01:00:00Z,nan,,,,0,0',
    ]);
    expect(errors).toContain(`${path}:2: the timestamp "yesterday"`);
    expect(errors).toContain(`${path}:3: the value "many"`);
  });

  it('takes no number with a comma in it for what is before the comma', async () => {
    const path = file('comma.csv', ['"timestamp","value"', '1770000000,"1,000"', '"1770003600","7"']);
    expect(await series([path])).toBe(1);
    expect(errors).toBe(`${path}:2: the value "1,000" is no number\n`);
    expect(output.split('\n').slice(1)).toEqual([
      '1770000000,"1,000",,,,0,0',
      expect.stringMatching(/^1770003600,7,7,/),
      '',
    ]);
  });

  it('takes a number that is too large for none, and expects no less of the next', async () => {
    const rows = Array.from(
      { length: 60 },
      (_, at) => `${1_767_225_600 + at * 60},${at === 50 ? '1e400' : 7}`,
    );
    expect(await series([file('g.csv', ['timestamp,value', ...rows])])).toBe(1);
    expect(output).not.toContain('NaN');
    expect(errors).toContain('the value "1e400" is no number');
  });

  it('counts lines as editors do, with the blank ones, and takes a byte order mark for none', async () => {
    const path = file('h.csv', ['\ufefftimestamp,value', '', '', 'yesterday,1']);
    expect(await series([path])).toBe(1);
    expect(errors).toContain(`${path}:4: the timestamp "yesterday"`);
  });

  it('refuses a file without the columns, or none at all', async () => {
    await expect(series([file('e.csv', ['time,count', '1,2'])])).rejects.toThrow(
      /columns timestamp and value/,
    );
    await expect(series([file('f.csv', [])])).rejects.toThrow(/is empty/);
    await expect(series([join(folder, 'none.csv')])).rejects.toThrow(/cannot be read/);
  });
});

describe('tripline parameters', () => {
  const call = (id: string, score?: boolean): string =>
    JSON.stringify({
      endpoint: 'GET /orders',
      parameters: { id, status: 'open' },
      ...(score === undefined ? {} : { score }),
    });

  it('judges the lines that ask for it in their order, and learns from the others only', async () => {
    const attack = call("1' OR '1'='1", true);
    const learning = Array.from({ length: 50 }, (_, at) => call(String(1_000 + at)));
    const path = file('a.ndjson', [
      attack,
      ...learning,
      attack,
      call('1050', true),
      ...Array.from({ length: 60 }, () => attack),
      attack,
    ]);
    expect(await parameters([path])).toBe(0);
    const findings = output
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { score: number; alert: boolean; reasons: string[] });
    expect(findings).toHaveLength(64);
    expect(findings[0]).toEqual({ endpoint: 'GET /orders', score: 0, alert: false, reasons: [] });
    expect(findings[2]).toMatchObject({ alert: false });
    expect(findings[1]!.alert).toBe(true);
    expect(findings[1]!.reasons[0]).toContain('"id"');
    expect(findings[63]).toEqual(findings[1]);
  });

  it('tells lines that cannot be read, goes on, and ends with 1', async () => {
    const path = file('b.ndjson', [
      '{',
      '[]',
      '{"endpoint":1}',
      '{"endpoint":"a","parameters":[]}',
      '{"endpoint":"a","score":"yes"}',
      call('1', true),
    ]);
    expect(await parameters([path])).toBe(1);
    expect(output.trimEnd().split('\n')).toHaveLength(1);
    expect(errors.trimEnd().split('\n')).toHaveLength(5);
    expect(errors).toContain(`${path}:4: parameters is no object`);
  });
});
