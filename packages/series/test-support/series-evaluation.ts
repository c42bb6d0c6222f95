/** One row of a labelled series. */
export interface LabelledRow {
  timestampMs: number;
  value: number;
  anomalous: boolean;
}

/** What a detector said of one row, live: `score` may be any number that rises with suspicion. */
export interface Judged {
  score: number;
  alert: boolean;
}

export type SeriesJudge = (timestampMs: number, value: number) => Judged;

export interface EventCounts {
  events: number;
  found: number;
  alerts: number;
  rightAlerts: number;
}

/** An alert may come this much before or after the labelled rows and still be about them. */
const TOLERANCE_MS = 15 * 60_000;
const TOLERANCE_STEPS = 2;

function stepOf(rows: readonly LabelledRow[]): number {
  const steps = rows
    .slice(1)
    .map((row, at) => row.timestampMs - rows[at]!.timestampMs)
    .sort((a, b) => a - b);
  return steps[steps.length >> 1] ?? 0;
}

/**
 * Event-wise counts: labelled runs (joined where less than the tolerance lies between them) of which at least one alert
 * starts within them or within the tolerance; and alerts that start there. No point adjustment.
 */
export function countEvents(rows: readonly LabelledRow[], judged: readonly Judged[]): EventCounts {
  const toleranceMs = Math.max(TOLERANCE_MS, TOLERANCE_STEPS * stepOf(rows));
  const events: { from: number; until: number; found: boolean }[] = [];
  for (const row of rows) {
    if (!row.anomalous) continue;
    const last = events.at(-1);
    if (last && row.timestampMs - last.until <= toleranceMs) last.until = row.timestampMs;
    else events.push({ from: row.timestampMs, until: row.timestampMs, found: false });
  }
  let alerts = 0;
  let rightAlerts = 0;
  for (const [at, row] of rows.entries()) {
    if (!judged[at]!.alert) continue;
    alerts++;
    const hit = events.find(
      ({ from, until }) => row.timestampMs >= from - toleranceMs && row.timestampMs <= until + toleranceMs,
    );
    if (!hit) continue;
    rightAlerts++;
    hit.found = true;
  }
  return { events: events.length, found: events.filter((one) => one.found).length, alerts, rightAlerts };
}

/** Buffers, in rows, over which the ranking measure is averaged. */
const BUFFER_ROWS = [0, 1, 2, 4];

/** Labels widened by `buffer` rows on both sides, fading from 1 to 0. */
function softLabels(rows: readonly LabelledRow[], buffer: number): Float64Array {
  const labels = Float64Array.from(rows, (row) => (row.anomalous ? 1 : 0));
  for (let at = 0; at < rows.length; at++) {
    if (!rows[at]!.anomalous) continue;
    for (let away = 1; away <= buffer; away++) {
      const label = 1 - away / (buffer + 1);
      for (const other of [at - away, at + away]) {
        if (other >= 0 && other < labels.length) labels[other] = Math.max(labels[other]!, label);
      }
    }
  }
  return labels;
}

/** Average precision of items that are positive to the degree `label`, each counting `weight`. */
export function averagePrecision(items: { score: number; label: number; weight: number }[]): number {
  const ranked = items.toSorted((a, b) => b.score - a.score);
  const total = ranked.reduce((sum, one) => sum + one.label * one.weight, 0);
  let positive = 0;
  let flagged = 0;
  let area = 0;
  for (let at = 0; at < ranked.length;) {
    // Equal scores are flagged together.
    let gained = 0;
    const { score } = ranked[at]!;
    for (; at < ranked.length && ranked[at]!.score === score; at++) {
      gained += ranked[at]!.label * ranked[at]!.weight;
      flagged += ranked[at]!.weight;
    }
    positive += gained;
    area += (gained / total) * (positive / flagged);
  }
  return area;
}

/** AUC-PR of the score column averaged over label buffers of 0 to 4 rows (as VUS-PR does), over all given series at once. */
export function rankingQuality(series: readonly { rows: LabelledRow[]; judged: Judged[] }[]): number {
  let sum = 0;
  for (const buffer of BUFFER_ROWS) {
    const items = series.flatMap(({ rows, judged }) => {
      const labels = softLabels(rows, buffer);
      return judged.map(({ score }, at) => ({ score, label: labels[at]!, weight: 1 / rows.length }));
    });
    sum += averagePrecision(items);
  }
  return sum / BUFFER_ROWS.length;
}

/** Makes alerts of threshold crossings: one until `quietRows` rows in a row stayed below. */
function episodes(threshold: number, quietRows: number): (score: number) => boolean {
  let quiet = quietRows;
  return (score) => {
    const above = score >= threshold;
    const starts = above && quiet >= quietRows;
    quiet = above ? 0 : quiet + 1;
    return starts;
  };
}

/** The weak baseline of the textbooks: deviations of an exponentially weighted mean in its own standard deviations. */
export function ewmaZScore(threshold: number): SeriesJudge {
  let mean: number | undefined;
  let variance = 0;
  const starts = episodes(threshold, 5);
  return (_, value) => {
    if (!Number.isFinite(value)) return { score: 0, alert: false };
    if (mean === undefined) {
      mean = value;
      return { score: 0, alert: false };
    }
    const difference = value - mean;
    const score = variance > 0 ? Math.abs(difference) / Math.sqrt(variance) : difference === 0 ? 0 : 100;
    mean += 0.05 * difference;
    variance = 0.95 * (variance + 0.05 * difference * difference);
    return { score, alert: starts(score) };
  };
}

/** Deviations from the median of the last 100 rows in median absolute deviations, without a floor. */
export function madZScore(threshold: number): SeriesJudge {
  const kept: number[] = [];
  const starts = episodes(threshold, 5);
  const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1]!;
  return (_, value) => {
    if (!Number.isFinite(value)) return { score: 0, alert: false };
    let score = 0;
    if (kept.length >= 10) {
      const middle = median([...kept]);
      const deviation = median(kept.map((one) => Math.abs(one - middle)));
      const difference = Math.abs(value - middle);
      score = deviation > 0 ? difference / (1.4826 * deviation) : difference === 0 ? 0 : 100;
    }
    kept.push(value);
    if (kept.length > 100) kept.shift();
    return { score, alert: starts(score) };
  };
}
