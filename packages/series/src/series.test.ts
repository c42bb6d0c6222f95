import { describe, expect, it } from 'vitest';
import { randomFrom } from '../../detection/test-support/program.ts';
import { createSeries, type SeriesRow } from './series.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** A Monday. */
const START_MS = Date.parse('2026-03-02T00:00:00Z');

interface Row {
  atMs: number;
  value: number;
}

function run(rows: Iterable<Row>): (Row & SeriesRow)[] {
  const series = createSeries();
  return [...rows].map((row) => ({ ...row, ...series.observe(row.atMs, row.value) }));
}

function alerts(rows: Iterable<Row>): string[] {
  return run(rows)
    .filter((row) => row.alert)
    .map((row) => `${new Date(row.atMs).toISOString()} ${row.value} of ${row.expected.toFixed(1)}`);
}

function* every(stepMs: number, days: number, value: (atMs: number, row: number) => number): Generator<Row> {
  for (let row = 0; row * stepMs < days * DAY_MS; row++) {
    const atMs = START_MS + row * stepMs;
    yield { atMs, value: value(atMs, row) };
  }
}

function normal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** Requests of an hour by time of day, with a quiet weekend and noise that grows with the level. */
function daily(seed: number): (atMs: number) => number {
  const random = randomFrom(seed);
  return (atMs) => {
    const hour = (atMs / HOUR_MS) % 24;
    const weekday = (Math.floor(atMs / DAY_MS) + 4) % 7;
    const level = 200 + 800 * Math.max(0, Math.sin(((hour - 6) / 24) * 2 * Math.PI));
    const weekend = weekday === 0 || weekday === 6 ? 0.5 : 1;
    return Math.max(0, Math.round(level * weekend * (1 + 0.08 * normal(random))));
  };
}

describe('what must not alert', () => {
  it.each([
    ['a constant', () => 5],
    ['nothing but zeros', () => 0],
    ['a flat count that jitters by one', (row: number) => 100 + (row % 3) - 1],
    ['a counter of rare events', (row: number) => (row % 37 === 0 ? 1 : 0)],
  ])('%s', (_, value) => {
    expect(alerts(every(MINUTE_MS, 3, (__, row) => value(row)))).toEqual([]);
  });

  it.each([
    ['normal noise', 1, (random: () => number) => 1_000 + 50 * normal(random)],
    ['noise of both signs around zero', 1, (random: () => number) => 3 * normal(random)],
    ['negative values', 1, (random: () => number) => -40 + 2 * normal(random)],
    [
      'log-normal noise, where one row in a hundred is four times the usual',
      14,
      (random: () => number) => Math.exp(4 + 0.8 * normal(random)),
    ],
    ['small counts', 6, (random: () => number) => Math.floor(-Math.log(1 - random()) * 2)],
  ])('%s: at most %i in 60 days of hourly rows', (_, most, draw) => {
    for (const seed of [1, 2, 3]) {
      const random = randomFrom(seed);
      expect(alerts(every(HOUR_MS, 60, () => draw(random))).length).toBeLessThanOrEqual(most);
    }
  });

  it('bursts several a day, at any time: about one alert a day at most once they are known', () => {
    for (const seed of [1, 2, 3]) {
      const random = randomFrom(seed);
      let burst = 1;
      const found = run(
        every(5 * MINUTE_MS, 30, () => {
          burst = random() < 0.01 ? 4 + 20 * random() ** 4 : Math.max(1, burst * 0.6);
          return Math.round(60 * burst * Math.exp(0.3 * normal(random)));
        }),
      ).filter((row) => row.alert);
      expect(found.filter((row) => row.atMs > START_MS + 5 * DAY_MS).length).toBeLessThanOrEqual(30);
    }
  });

  it('peaks of the day and quiet weekends, once a week was seen', () => {
    for (const seed of [1, 2, 3]) {
      const late = run(every(HOUR_MS, 60, daily(seed))).filter(
        (row) => row.alert && row.atMs > START_MS + 7 * DAY_MS,
      );
      expect(late.length).toBeLessThanOrEqual(1);
    }
  });

  it('a cron job every hour, after three times', () => {
    const found = alerts(every(MINUTE_MS, 3, (_, row) => (row % 60 === 0 ? 500 : 20)));
    expect(found.length).toBe(3);
  });

  it('a gap, a value that is no number, and rows out of order', () => {
    const value = daily(4);
    const rows = [...every(10 * MINUTE_MS, 14, value)].filter(
      (row) => row.atMs < START_MS + 9 * DAY_MS || row.atMs > START_MS + 10 * DAY_MS,
    );
    rows[700]!.value = NaN;
    [rows[900], rows[901]] = [rows[901]!, rows[900]!];
    const late = run(rows).filter((row) => row.alert && row.atMs > START_MS + 7 * DAY_MS);
    expect(late.length).toBeLessThanOrEqual(1);
    expect(run(rows)[700]).toMatchObject({ score: 0, alert: false });
  });
});

describe('what must alert, once', () => {
  const dayTen = START_MS + 10 * DAY_MS;

  it.each([
    ['five times the usual at peak', 14, 5],
    ['five times the usual at night, below the level of the day', 3, 5],
    ['a drop to nothing at peak', 14, 0],
  ])('%s', (_, hour, factor) => {
    const value = daily(5);
    const fromMs = dayTen + hour * HOUR_MS;
    const rows = [
      ...every(
        HOUR_MS,
        14,
        (atMs) => value(atMs) * (atMs >= fromMs && atMs < fromMs + 3 * HOUR_MS ? factor : 1),
      ),
    ];
    const late = run(rows).filter((row) => row.alert && row.atMs > dayTen);
    expect(late[0]?.atMs).toBe(fromMs);
    expect(late.length).toBeLessThanOrEqual(2);
    expect(late[0]!.score).toBeGreaterThanOrEqual(0.5);
    expect(factor === 0 ? late[0]!.value < late[0]!.low : late[0]!.value > late[0]!.high).toBe(true);
  });

  it('a level that stays is news once, then usual', () => {
    const random = randomFrom(6);
    const rows = run(every(HOUR_MS, 30, (atMs) => (atMs < dayTen ? 100 : 400) + 5 * normal(random)));
    expect(rows.filter((row) => row.alert).map((row) => row.atMs)).toEqual([dayTen]);
    const last = rows.at(-1)!;
    expect(last.expected).toBeGreaterThan(350);
    expect(last.score).toBeLessThan(0.3);
  });

  it('what is under alert is not learnt while it lasts', () => {
    const random = randomFrom(7);
    const rows = run(every(HOUR_MS, 12, (atMs) => (atMs < dayTen ? 100 : 1_000) + 5 * normal(random)));
    const later = rows.filter((row) => row.atMs > dayTen + 20 * HOUR_MS);
    expect(Math.min(...later.map((row) => row.score))).toBeGreaterThan(0.5);
  });

  it('a silent series that begins to speak, for good', () => {
    const found = alerts(every(MINUTE_MS, 3, (_, row) => (row < 3_000 ? 0 : 500)));
    expect(found.length).toBe(1);
  });
});

describe('scores', () => {
  it('do not depend on the unit of the values', () => {
    const value = daily(8);
    const rows = [...every(HOUR_MS, 20, (atMs) => value(atMs) + 0.5)];
    const scaled = rows.map((row) => ({ ...row, value: row.value * 1_000 }));
    const one = run(rows).map((row) => row.score);
    const other = run(scaled).map((row) => row.score);
    for (const [at, score] of one.entries()) expect(other[at]).toBeCloseTo(score, 6);
  });

  it('do not depend on rows that come later', () => {
    const value = daily(9);
    const rows = [...every(HOUR_MS, 20, value)];
    expect(run(rows.slice(0, 300))).toEqual(run(rows).slice(0, 300));
  });

  it('stay between 0 and 1 for any finite input', () => {
    const random = randomFrom(10);
    const extremes = [0, 1e300, -1e300, 5e-324, 1e-300, -0, Number.MAX_SAFE_INTEGER];
    const rows = run(every(1, 0.00001, () => extremes[Math.floor(random() * extremes.length)]!));
    expect(rows.length).toBeGreaterThan(800);
    for (const { score } of rows) expect(score >= 0 && score <= 1).toBe(true);
  });
});
