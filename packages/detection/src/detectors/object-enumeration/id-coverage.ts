import type { Alert } from '@tripline/model';
import { endpointId, type EndpointName } from '../../across-actors/endpoint-id.ts';
import type {
  AlertOutput,
  EndpointJudge,
  JudgedMinute,
  MinutePartKind,
} from '../../across-actors/minute-part.ts';
import { alertId, beginGrowing, closesAt, isNews, scoreOf } from '../../alerts/episode.ts';
import { DAY_MS, HOUR_MS, LATENESS_MS } from '../../baseline/limits.ts';
import { toleranceOf, type Tolerance } from '../../baseline/sensitivity.ts';
import type { ByteReader } from '../../codec/byte-reader.ts';
import type { ByteWriter } from '../../codec/byte-writer.ts';
import { isKnown, look, objectHash, rotate, weightOf } from '../../sketches/seen.ts';
import { createAsked } from './asked.ts';
import { coverageAlert } from './id-coverage-alert.ts';
import { addId, mostOfOneActor, rangeOf } from './id-coverage-ranges.ts';
import {
  addAskedIds,
  mergeAskedIds,
  newAskedIds,
  RANGE_IDS,
  readAskedIds,
  writeAskedIds,
  type AskedIds,
  type Asker,
} from './id-coverage-sample.ts';
import {
  addToPool,
  COVERAGE_STATE_VERSION,
  learntHours,
  newCoveragePool,
  newCoverageState,
  readCoverage,
  SPANS,
  spans,
  topShare,
  writeCoverage,
  type CoverageExcess,
  type CoverageState,
  type Span,
} from './id-coverage-state.ts';
import { CHANCE_DEVIATIONS, STAYS_MS, TOP_PER_DAY } from './limits.ts';

/**
 * A range is gone through when so many of its ids were asked for in one minute and in no other: a walk leaves few out and takes
 * each once. Of ids that are asked for at random at most 1/e (the most that a Poisson distribution has at one), 24 of 64, are at
 * any time asked for just once, however many calls there are; 40 are four standard deviations more.
 */
const FILLED_IDS = 40;
/** From so many ids on the actors of a range are kept as evidence. */
const NOTED_IDS = FILLED_IDS / 2;
/** A range that one actor fills to this share is its own walk, which the profile of the actor judges. */
const ONE_ACTOR_SHARE = 0.8;
/** No actor has more than this share of all that was gone through. */
const TOP_SHARE_MOST = 0.5;
/** Allowed are so many times the most ranges so far. */
const FACTOR = 2.5;
const HOURS_PER_DAY = DAY_MS / HOUR_MS;
const DAYS_PER_WEEK = 7;

/** Numeric ids of an endpoint: do many actors together go through them, each with few of them? */
export const idCoverage: MinutePartKind<AskedIds, CoverageState> = {
  id: 3,
  partVersion: 1,
  stateVersion: COVERAGE_STATE_VERSION,
  newPart: newAskedIds,
  createCounter: () => {
    const asked = createAsked();
    return { add: (ids, call) => addAskedIds(ids, call, asked(call)) };
  },
  merge: mergeAskedIds,
  encode: (ids, writer) => writeAskedIds(writer, ids),
  decode: readAskedIds,
  createJudge: (settingsOf) => {
    const { enabled, sensitivity } = settingsOf('object-enumeration');
    return new CoverageJudge(enabled, toleranceOf(sensitivity));
  },
};

class CoverageJudge implements EndpointJudge<AskedIds, CoverageState> {
  readonly enabled: boolean;
  readonly #tolerance: Tolerance;

  constructor(enabled: boolean, tolerance: Tolerance) {
    this.enabled = enabled;
    this.#tolerance = tolerance;
  }

  isOfNote(): boolean {
    return this.enabled;
  }

  newState(): CoverageState {
    return newCoverageState();
  }

  judge(state: CoverageState, ids: AskedIds | undefined, minute: JudgedMinute, out: AlertOutput): void {
    const atMs = minute.startsAt;
    if (!this.enabled || !ids || atMs < state.newestMs - LATENESS_MS) return;
    this.close(state, minute, atMs, out);
    state.newestMs = Math.max(state.newestMs, atMs);
    const hour = Math.floor(state.newestMs / HOUR_MS);
    if (hour > state.hour) endHour(state, minute, hour, this.#tolerance, out);

    for (const span of spans) state.spans[span].calls += minute.calls;
    const before = state.spans.hour.ranges;
    for (const [number, { value }] of ids.sorted()) fill(state, Number(number), value);
    if (state.spans.hour.ranges > before) judgeSpans(state, minute, this.#tolerance, out);
  }

  close(state: CoverageState, of: EndpointName, nowMs: number, out: AlertOutput): void {
    if (state.episode && nowMs >= closesAt(state.episode)) out.alert(endEpisode(state, of, nowMs));
  }

  closesAt({ episode }: CoverageState): number | undefined {
    return episode ? closesAt(episode) : undefined;
  }

  encode(state: CoverageState, writer: ByteWriter): void {
    writeCoverage(writer, state);
  }

  decode(reader: ByteReader): CoverageState {
    return readCoverage(reader);
  }
}

/** Adds an id to its range, and counts the range once it is gone through by several actors. */
function fill(state: CoverageState, number: number, asker: Asker): void {
  const { ranges, seen } = state;
  const at = rangeOf(number);
  if (!ranges.has(at) && isKnown(seen, objectHash(String(at), 0))) return;
  const range = addId(ranges, number, asker.actor);
  if (!range || range.once < NOTED_IDS || mostOfOneActor(range) > ONE_ACTOR_SHARE * range.once) return;
  addToPool((state.pool ??= newCoveragePool()), number, asker);
  if (range.once < FILLED_IDS || range.isCounted) return;
  range.isCounted = true;
  const weight = Math.max(0, look(seen, objectHash(String(at), 0)));
  for (const span of spans) state.spans[span].ranges += weight;
}

function judgeSpans(
  state: CoverageState,
  minute: JudgedMinute,
  tolerance: Tolerance,
  out: AlertOutput,
): void {
  const { pool } = state;
  let worst: CoverageExcess = { span: 'hour', value: 0, high: 1, top: 0 };
  for (const span of spans) {
    const { ranges: value, top } = state.spans[span];
    const high = allowed(state, span, tolerance);
    if (value / high > worst.value / worst.high) worst = { span, value, high, top };
  }
  if (!pool || worst.value <= worst.high || topShare(pool) > TOP_SHARE_MOST) return;
  const atMs = minute.startsAt;
  const nowMs = minute.judgedAt;
  let { episode } = state;
  if (episode) {
    episode.lastSeenAt = Math.max(episode.lastSeenAt, atMs);
    episode.count = pool.ids;
    if (worst.value / worst.high > episode.worst.value / episode.worst.high) episode.worst = worst;
  } else {
    const { spanMs, unit } = SPANS[worst.span];
    const startedAt = Math.floor(state.newestMs / spanMs) * spanMs;
    episode = state.episode = {
      ...beginGrowing(startedAt, nowMs, atMs, pool.ids),
      id: alertId('object-enumeration', `endpoint:${endpointId(minute)}`, unit, startedAt),
      worst,
    };
  }
  if (isNews(episode, scoreOf(episode.worst.value / episode.worst.high), nowMs))
    out.alert(coverageAlert(state, episode, pool, minute, 'open', nowMs));
}

/** Ranges that are allowed in a span; Infinity while too little is learnt. */
function allowed(state: CoverageState, span: Span, tolerance: Tolerance): number {
  if (learntHours(state) < SPANS[span].learntHours) return Infinity;
  const { top, usualCalls } = state.spans[span];
  const growth = Math.max(1, otherCalls(state, span) / Math.max(1, usualCalls));
  const most = Math.max(tolerance.count(SPANS[span].floor), tolerance.factor(FACTOR) * growth * top);
  const chance = Math.sqrt(most * (weightOf(state.seen) - 1));
  return Math.round(most + CHANCE_DEVIATIONS * chance);
}

/** Calls of the span under way that did not go through ranges. */
function otherCalls(state: CoverageState, span: Span): number {
  const { calls, ranges } = state.spans[span];
  return Math.max(0, calls - RANGE_IDS * ranges);
}

/** Ends the hour, and the day if it is over, and learns from them unless they were under alert. */
function endHour(
  state: CoverageState,
  minute: JudgedMinute,
  hour: number,
  tolerance: Tolerance,
  out: AlertOutput,
): void {
  const { episode } = state;
  const days = Math.floor(hour / HOURS_PER_DAY) - Math.floor(state.hour / HOURS_PER_DAY);
  if (episode && episode.lastSeenAt - episode.startedAt >= STAYS_MS) {
    out.alert(endEpisode(state, minute, minute.judgedAt));
    for (const span of spans) learn(state, span);
  } else {
    const isLearnt = (span: Span): boolean =>
      !episode ||
      (tolerance.isStrict && state.spans[span].ranges <= allowed(state, span, toleranceOf('normal')));
    if (isLearnt('hour')) learn(state, 'hour');
    if (days > 0 && isLearnt('day')) learn(state, 'day');
    if (!episode) state.pool = null;
  }
  beginSpan(state, 'hour');
  if (state.hour === 0) state.firstHour = hour;
  state.hour = hour;
  if (days === 0) return;
  beginSpan(state, 'day');
  for (const span of spans) {
    const counts = state.spans[span];
    counts.top = Math.round(counts.top * TOP_PER_DAY ** days * 100) / 100;
  }
  state.ranges.clear();
  rotate(state.seen, Math.floor(hour / HOURS_PER_DAY / DAYS_PER_WEEK));
}

function learn(state: CoverageState, span: Span): void {
  const counts = state.spans[span];
  if (counts.ranges < counts.top) return;
  counts.top = counts.ranges;
  counts.usualCalls = otherCalls(state, span);
}

function beginSpan(state: CoverageState, span: Span): void {
  state.spans[span].ranges = 0;
  state.spans[span].calls = 0;
}

/** Ends the open episode; returns the last revision of its alert. What was under alert is neither learnt nor counted again. */
function endEpisode(state: CoverageState, of: EndpointName, nowMs: number): Alert {
  const alert = coverageAlert(state, state.episode!, state.pool!, of, 'closed', nowMs);
  state.episode = null;
  state.pool = null;
  for (const span of spans) beginSpan(state, span);
  return alert;
}
