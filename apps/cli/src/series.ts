import { createSeries, type SeriesRow } from '@tripline/series';
import { UserError } from '@tripline/runtime';
import { LineProblems, linesOf, print } from './lines.ts';
import { readOptions } from './options.ts';

/** Epoch times from here on are ms, below they are seconds: 1e11 s are 3,000 years, 1e11 ms the year 1973. */
const leastEpochMs = 1e11;

/**
 * `tripline series FILE.csv`: what the baseline says of each row as it would have said it live, as CSV with one row per
 * row. A row that cannot be read keeps its place with nothing said of it, and makes the exit status 1.
 */
export async function series(args: string[]): Promise<number> {
  const { positionals } = readOptions(args, {}, { names: ['a CSV FILE with columns timestamp,value, or -'] });
  const file = positionals[0]!;
  const problems = new LineProblems(file);
  const baseline = createSeries();
  let columns: { timestamp: number; value: number } | undefined;
  for await (const lines of linesOf(file)) {
    let output = '';
    for (const { number, text } of lines) {
      const cells = cellsOf(text ?? '');
      if (!columns) {
        columns = columnsOf(file, cells);
        output += 'timestamp,value,expected,low,high,score,alert\n';
        continue;
      }
      const timestamp = cells[columns.timestamp]?.trim() ?? '';
      const value = cells[columns.value]?.trim() ?? '';
      const timestampMs = timeOf(timestamp);
      const reading = numberOf(value);
      let row: SeriesRow | undefined;
      if (Number.isNaN(timestampMs)) {
        problems.add(
          number,
          `the timestamp "${timestamp.slice(0, 40)}" is none; allowed are ISO 8601 and seconds or ms since the epoch`,
        );
      } else if (reading === undefined) {
        problems.add(number, `the value "${value.slice(0, 40)}" is no number`);
      } else row = baseline.observe(timestampMs, reading);
      output += `${asCell(timestamp)},${asCell(value)},${row && !Number.isNaN(reading) ? said(row) : ',,,0,0'}\n`;
    }
    await print(output);
  }
  if (!columns)
    throw new UserError(`${file} is empty; it needs a header line with the columns timestamp and value.`);
  return problems.finish();
}

function said(row: SeriesRow): string {
  const short = (value: number): string => String(Number(value.toPrecision(6)));
  return `${short(row.expected)},${short(row.low)},${short(row.high)},${row.score.toFixed(6)},${row.alert ? 1 : 0}`;
}

/** Quotes around a cell go, and keep the commas within: "1,000" must not be taken for 1. */
function cellsOf(line: string): string[] {
  if (!line.includes('"')) return line.split(',');
  const cells = [''];
  line.split('"').forEach((part, at) => {
    const pieces = at % 2 === 1 ? [part] : part.split(',');
    cells.push(`${cells.pop()}${pieces[0]}`, ...pieces.slice(1));
  });
  return cells;
}

function asCell(text: string): string {
  return text.includes(',') ? `"${text}"` : text;
}

function columnsOf(file: string, header: string[]): { timestamp: number; value: number } {
  const names = header.map((name) => name.trim().toLowerCase());
  const timestamp = names.indexOf('timestamp');
  const value = names.indexOf('value');
  if (timestamp === -1 || value === -1) {
    throw new UserError(
      `${file}: the first line must name the columns timestamp and value, separated by commas; it is "${header.join(',').slice(0, 80)}".`,
    );
  }
  return { timestamp, value };
}

/** ms since the epoch; NaN if it is no time. Without a zone it is UTC, wherever this runs. */
function timeOf(text: string): number {
  if (/^-?\d+(\.\d+)?$/.test(text)) {
    const number = Number(text);
    return Math.abs(number) >= leastEpochMs ? number : number * 1_000;
  }
  if (!/^\d{4}-\d{2}-\d{2}/.test(text)) return NaN;
  const iso = text.replace(' ', 'T');
  if (iso.length === 10) return Date.parse(iso);
  return Date.parse(/(Z|[+-]\d{2}:?\d{2})$/i.test(iso) ? iso : `${iso}Z`);
}

/** NaN for a missing point, undefined for what is neither a number nor one. */
function numberOf(text: string): number | undefined {
  if (text === '' || /^(nan|null|na|n\/a|none)$/i.test(text)) return NaN;
  const number = Number(text);
  return Number.isFinite(number) ? number : undefined;
}
