import { severityOf, type Alert, type AlertSource } from '@tripline/model';
import {
  CALL_WEIGHT,
  COLD_HOURS,
  DAY_MS,
  HOUR_MS,
  LATENESS_MS,
  SAMPLES_MOST,
  SOURCES_MOST,
  WINDOW_MS,
} from '../constants.ts';
import { alertId, closesAt, isNews, markPublished, scoreOf, type Growing } from '../episode.ts';
import type { PeersState } from '../profile.ts';
import {
  countCall,
  decodeScope,
  encodeScope,
  EXCEEDED,
  excuse,
  newScope,
  settle,
  settlesAt,
  WARM,
  worstExcess,
  type EncodedScope,
  type Excess,
  type Scope,
} from '../scope.ts';
import {
  ATTEMPT_FLOORS,
  DAY_ATTEMPTS_LEAST,
  DAY_HOURS,
  DAY_LEARNT_HOURS,
  DAY_TIMES,
  ENDPOINT_WINDOW_MS,
  FAILURES_OF_NOTE,
  ODDS_COLD,
  ODDS_LEAST,
  ODDS_SHIFT,
  OPENED_MOST,
  SHARE_LEAST,
  SHARES_MOST,
  USUAL_MEMORY,
} from './constants.ts';
import {
  decodeMinute,
  encodeMinute,
  mergeMinute,
  newMinute,
  openedSources,
  unexplainedOf,
  type EncodedMinute,
  type EndpointMinute,
} from './endpoint-minute.ts';
import type { WholeMinute } from './minute-hold.ts';

const REFERENCES = ['OWASP API2:2023', 'MITRE ATT&CK T1110.004'];
const LONG_WINDOW_MS = WINDOW_MS[2];
const MINUTES_KEPT = LATENESS_MS / ENDPOINT_WINDOW_MS + 1;
/** By size of window: the first counts the same as the second, see ATTEMPT_FLOORS. */
const SPAN_MS = [ENDPOINT_WINDOW_MS, ENDPOINT_WINDOW_MS, LONG_WINDOW_MS, DAY_MS] as const;
const UNITS = ['attempts/min', 'attempts/min', 'attempts/10min', 'attempts/day'] as const;
const WORDS = ['1 min', '1 min', '10 min', '24 h'] as const;
/** Size of the window that is judged once an hour. */
const DAY = 3;

/** What counts of a minute, or of several. */
interface Counts {
  unexplained: number;
  failures: number;
  successes: number;
}

/** What is usual: sums over past hours, of which older ones weigh less and less. */
interface Usual extends Counts {
  hours: number;
}

interface Episode extends Growing {
  id: string;
  /** Failures since startedAt, whether their window exceeded or not. */
  seen: number;
  /** Late failures of the endpoint when the latest window exceeded. */
  late: number;
  worst: Excess;
  /** Share of failures among failures and successes in that window, and what it usually was; null if not known. */
  ratio: number;
  usualRatio: number | null;
}

/** What the credential-stuffing detector knows of one endpoint. One scope, one episode, one minute's samples. */
export interface StuffingState {
  /** Start of the newest window, ms. */
  newestMs: number;
  /** Failures that came too late to be judged. */
  late: number;
  /** Of unexplained attempts. */
  scope: Scope;
  usual: Usual;
  /** The hour under way, and whether it must not be learnt: because of a burst, or of a slow attack. */
  hour: Counts & { number: number; suspect: Suspect };
  /** The latest hours without a burst, at most DAY_HOURS, by their number. */
  hours: Map<number, Counts>;
  /** The latest windows, at most MINUTES_KEPT, by their start. */
  minutes: Map<number, Counts>;
  episode: Episode | null;
  /** Together: the windows near or over a threshold, of the episode, else of the newest 600 s. */
  pool: EndpointMinute | null;
  /** Together: all windows with failures, of a slow episode, else of the day under way. */
  dayPool: EndpointMinute | null;
}

type Suspect = 'no' | 'burst' | 'slow';

export function newStuffingState(): StuffingState {
  return {
    newestMs: 0,
    late: 0,
    scope: newScope(ATTEMPT_FLOORS),
    usual: { hours: 0, unexplained: 0, failures: 0, successes: 0 },
    hour: { number: 0, suspect: 'no', unexplained: 0, failures: 0, successes: 0 },
    hours: new Map(),
    minutes: new Map(),
    episode: null,
    pool: null,
    dayPool: null,
  };
}

/** Is the window worth a state of its own for an endpoint that has none? */
export function isOfNote(minute: EndpointMinute): boolean {
  return minute.failures >= FAILURES_OF_NOTE || (minute.failures > 0 && minute.successes > 0);
}

/** Endpoints have no peers to borrow from. */
const noPeers = (): PeersState => ({ hours: 0, mean: 0, deviation: 0 });

/** Judges one window of the endpoint. `nowMs`: end of the step in which it is judged. */
export function judgeMinute(state: StuffingState, whole: WholeMinute, nowMs: number): Alert[] {
  const alerts: Alert[] = [];
  const { minute } = whole;
  const atMs = whole.window * ENDPOINT_WINDOW_MS;
  if (atMs < state.newestMs - LATENESS_MS) {
    state.late += minute.failures;
    return alerts;
  }
  if (state.episode && atMs >= endsAt(state.episode)) alerts.push(closeEpisode(state, whole, nowMs));
  if (atMs > state.newestMs) {
    if (!state.episode && longWindowOf(atMs) !== longWindowOf(state.newestMs)) state.pool = null;
    state.newestMs = atMs;
  }
  const { scope } = state;
  if (state.newestMs >= settlesAt(scope))
    settle(scope, noPeers(), state.newestMs, state.episode?.startedAt ?? Infinity, false);

  const unexplained = unexplainedOf(minute).attempts;
  const now: Counts = { unexplained, failures: minute.failures, successes: minute.successes };
  if (remember(state, atMs, now)) alerts.push(...judgeDay(state, whole, nowMs));
  if (minute.failures > 0) mergeMinute((state.dayPool ??= newMinute()), minute);
  const heat = countCall(scope, noPeers(), atMs, unexplained * CALL_WEIGHT);
  let { episode } = state;
  if (episode && atMs >= episode.startedAt) episode.seen += minute.failures;
  if (heat < WARM) return alerts;
  mergeMinute((state.pool ??= newMinute()), minute);
  if (heat < EXCEEDED) return alerts;

  const excess = worstExcess(scope, atMs);
  const within = sumOf(state, excess);
  if (!isShifted(state.usual, within) || unexplainedOf(state.pool).share < SHARE_LEAST) {
    if (!episode) excuse(scope, atMs);
    return alerts;
  }
  state.hour.suspect = 'burst';
  const lastSeenAt = Math.max(atMs, minute.failing?.newestAt ?? 0);
  if (!episode) episode = state.episode = raise(state, whole, excess, within, lastSeenAt, nowMs);
  else {
    episode.lastSeenAt = Math.max(episode.lastSeenAt, lastSeenAt);
    episode.count = episode.seen;
    episode.late = state.late;
    if (excess.factor > episode.worst.factor) {
      episode.worst = excess;
      episode.ratio = ratioOf(within);
    }
  }
  if (isNews(episode, scoreOf(episode.worst.factor), nowMs))
    alerts.push(publish(state, whole, 'open', nowMs));
  return alerts;
}

/** Once an hour: are the attempts of the last 24 h far more than a day's, although no ten minutes were? */
function judgeDay(state: StuffingState, of: WholeMinute, nowMs: number): Alert[] {
  const { usual } = state;
  if (usual.hours < DAY_LEARNT_HOURS) return [];
  const within: Counts = { unexplained: 0, failures: 0, successes: 0 };
  for (const counts of state.hours.values()) addCounts(within, counts);
  // The weights of the hours in `usual` add up to this.
  const learnt = USUAL_MEMORY * (1 - (1 - 1 / USUAL_MEMORY) ** usual.hours);
  const expected = (usual.unexplained / learnt) * DAY_HOURS;
  const high = Math.max(DAY_ATTEMPTS_LEAST, Math.ceil(DAY_TIMES * expected));
  if (within.unexplained <= high || !isShifted(usual, within) || state.dayPool === null) return [];
  const excess: Excess = {
    size: DAY,
    startsAt: Math.min(...state.hours.keys()) * HOUR_MS,
    count: within.unexplained * CALL_WEIGHT,
    high: high * CALL_WEIGHT,
    expected: Math.round(expected * CALL_WEIGHT),
    factor: within.unexplained / high,
    learning: 'overall',
    learntHours: usual.hours,
  };
  const { episode } = state;
  if (!episode) state.episode = raise(state, of, excess, within, state.newestMs, nowMs);
  else if (episode.worst.size === DAY) {
    episode.lastSeenAt = state.newestMs;
    episode.count = episode.seen;
    if (excess.factor > episode.worst.factor) {
      episode.worst = excess;
      episode.ratio = ratioOf(within);
    }
  }
  const slow = state.episode!;
  if (slow.worst.size !== DAY) return [];
  state.hour.suspect = 'slow';
  return isNews(slow, scoreOf(slow.worst.factor), nowMs) ? [publish(state, of, 'open', nowMs)] : [];
}

/** A slow attack is over when a day has passed that was ordinary. */
function endsAt(episode: Episode): number {
  return episode.worst.size === DAY ? episode.lastSeenAt + DAY_MS : closesAt(episode);
}

/** Ends the episode if it is over at `nowMs`. The alert is the same whenever this is called after that. */
export function closeStuffing(
  state: StuffingState,
  of: { service: string; endpoint: string },
  nowMs: number,
): Alert[] {
  return state.episode && nowMs >= endsAt(state.episode) ? [closeEpisode(state, of, nowMs)] : [];
}

export function stuffingClosesAt(state: StuffingState): number | undefined {
  return state.episode ? endsAt(state.episode) : undefined;
}

function closeEpisode(state: StuffingState, of: { service: string; endpoint: string }, nowMs: number): Alert {
  const alert = publish(state, of, 'closed', nowMs);
  state.episode = null;
  state.pool = state.dayPool = null;
  state.scope.shadow = [];
  return alert;
}

/** Adds a window to those kept and to its hour; the hour before is learnt when another begins: then it returns true. */
function remember(state: StuffingState, atMs: number, now: Counts): boolean {
  const { minutes } = state;
  const known = minutes.get(atMs);
  if (known) addCounts(known, now);
  else minutes.set(atMs, { ...now });
  for (const startsAt of minutes.keys())
    if (startsAt <= state.newestMs - MINUTES_KEPT * ENDPOINT_WINDOW_MS) minutes.delete(startsAt);

  const number = Math.floor(state.newestMs / HOUR_MS);
  const isNewHour = number !== state.hour.number;
  if (isNewHour) {
    const { usual, hour, hours, episode } = state;
    if (hour.suspect === 'no' && hour.failures + hour.successes > 0) {
      usual.hours++;
      const kept = 1 - 1 / USUAL_MEMORY;
      for (const what of ['unexplained', 'failures', 'successes'] as const)
        usual[what] = Math.round((usual[what] * kept + hour[what]) * 100) / 100;
    }
    // A burst is told of by its own alert: the day without it is judged.
    if (hour.suspect !== 'burst' && hour.failures + hour.successes > 0)
      hours.set(hour.number, {
        unexplained: hour.unexplained,
        failures: hour.failures,
        successes: hour.successes,
      });
    for (const old of hours.keys()) if (old < number - DAY_HOURS) hours.delete(old);
    // The addresses of a day, as long as nothing is known to be under way.
    if (!episode && Math.floor(number / DAY_HOURS) !== Math.floor(hour.number / DAY_HOURS))
      state.dayPool = null;
    const suspect = !episode ? 'no' : episode.worst.size === DAY ? 'slow' : 'burst';
    state.hour = { number, suspect, unexplained: 0, failures: 0, successes: 0 };
  }
  addCounts(state.hour, now);
  return isNewHour;
}

function addCounts(counts: Counts, more: Counts): void {
  counts.unexplained += more.unexplained;
  counts.failures += more.failures;
  counts.successes += more.successes;
}

/** What came in the window that exceeded, so far. */
function sumOf(state: StuffingState, excess: Excess): Counts {
  const sum: Counts = { unexplained: 0, failures: 0, successes: 0 };
  const endsAt = excess.startsAt + SPAN_MS[excess.size]!;
  for (const [startsAt, counts] of state.minutes)
    if (startsAt >= excess.startsAt && startsAt < endsAt) addCounts(sum, counts);
  return sum;
}

/** Is the ratio of unexplained attempts to successes clearly above what it usually is? */
function isShifted(usual: Usual, now: Counts): boolean {
  const least = usual.hours < COLD_HOURS ? ODDS_COLD : ODDS_LEAST;
  return oddsOf(now) >= ODDS_SHIFT * Math.max(least, oddsOf(usual));
}

function oddsOf({ unexplained, successes }: Counts): number {
  return unexplained / (successes + 1);
}

/** Share of failures among failures and successes, to three decimals. */
function ratioOf({ failures, successes }: Counts): number {
  return Math.round((failures / Math.max(1, failures + successes)) * 1_000) / 1_000;
}

function longWindowOf(atMs: number): number {
  return Math.floor(atMs / LONG_WINDOW_MS);
}

/** How an endpoint is called in keys, ids and alerts. */
export function endpointId(of: { service: string; endpoint: string }): string {
  return `${of.service} ${of.endpoint}`;
}

function raise(
  state: StuffingState,
  of: WholeMinute,
  excess: Excess,
  within: Counts,
  lastSeenAt: number,
  nowMs: number,
): Episode {
  return {
    id: alertId('credential-stuffing', `endpoint:${endpointId(of)}`, '', excess.startsAt),
    startedAt: excess.startsAt,
    raisedAt: nowMs,
    lastSeenAt,
    seen: within.failures,
    count: within.failures,
    late: state.late,
    worst: excess,
    ratio: ratioOf(within),
    usualRatio: state.usual.hours > 0 ? ratioOf(state.usual) : null,
    revision: 0,
    publishedAt: 0,
    publishedCount: 0,
    publishedRank: -1,
  };
}

/** The next published state of the open episode. */
function publish(
  state: StuffingState,
  of: { service: string; endpoint: string },
  status: Alert['status'],
  nowMs: number,
): Alert {
  const episode = state.episode!;
  const pool = (episode.worst.size === DAY ? state.dayPool : state.pool)!;
  const failing = pool.failing!;
  const { worst } = episode;
  const score = scoreOf(worst.factor);
  markPublished(episode, score, nowMs);

  const unit = UNITS[worst.size]!;
  const value = Math.round(worst.count / CALL_WEIGHT);
  const high = Math.floor(worst.high / CALL_WEIGHT);
  const opened = openedSources(pool);
  const id = endpointId(of);
  const addresses = failing.sources.distinct();
  const accounts = failing.accounts.distinct();
  return {
    id: episode.id,
    revision: episode.revision,
    type: 'credential-stuffing',
    severity: severityOf(score),
    score,
    actor: { kind: 'endpoint', id, name: id },
    service: of.service === '' ? null : of.service,
    route: null,
    endpoint: of.endpoint,
    raisedAt: episode.raisedAt,
    startedAt: episode.startedAt,
    lastSeenAt: episode.lastSeenAt,
    count: episode.count,
    status,
    observed: { value, unit },
    expected: { value: Math.round((worst.expected / CALL_WEIGHT) * 10) / 10, low: 0, high, unit },
    summary: summaryOf(id, episode, value, high, addresses, accounts, opened.length),
    sources: topSources(failing.sources.sorted()),
    evidence: {
      windowMs: SPAN_MS[worst.size]!,
      windowStartsAt: worst.startsAt,
      factor: Math.round(worst.factor * 100) / 100,
      learning: worst.learning,
      learntHours: worst.learntHours,
      failureRatio: episode.ratio,
      usualFailureRatio: episode.usualRatio,
      // Estimates from 64 on, see `Sample`; accounts as far as the lines tell them, 0 if they do not.
      distinctAddresses: addresses,
      distinctAccounts: accounts,
      distinctAttempts: failing.attempts.distinct(),
      failures: pool.failures,
      refusedByKong: failing.byKong,
      successes: pool.successes,
      serverErrors: pool.serverErrors,
      // Of a fair sample of the failed calls.
      networks: shares(failing.calls.sorted().map(([, { value: call }]) => call.asn)),
      countries: shares(failing.calls.sorted().map(([, { value: call }]) => call.country)),
      userAgents: shares(failing.calls.sorted().map(([, { value: call }]) => call.userAgent)),
      // Addresses that failed and got in, and as whom; all of them up to 32 addresses, a sample beyond.
      opened: opened.slice(0, OPENED_MOST),
      lateFailures: episode.late,
    },
    sampleCallIds: failing.calls
      .sorted()
      .slice(0, SAMPLES_MOST)
      .map(([callId]) => callId),
    references: [...REFERENCES],
  };
}

type SampledSources = [string, { value: { failures: number; country: string | null; asn: number | null } }][];

function topSources(sampled: SampledSources): AlertSource[] {
  return sampled
    .sort(([ip, a], [otherIp, b]) => b.value.failures - a.value.failures || (ip < otherIp ? -1 : 1))
    .slice(0, SOURCES_MOST)
    .map(([ip, { value }]) => ({
      ip,
      count: value.failures,
      ...(value.country === null ? {} : { country: value.country }),
      ...(value.asn === null ? {} : { asn: value.asn }),
    }));
}

/** The most frequent values with their share, largest first; what is not known has no share. */
function shares<T extends string | number>(values: readonly (T | null)[]): { value: T; share: number }[] {
  const counts = new Map<T, number>();
  for (const value of values)
    if (value !== null && value !== '') counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts]
    .sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))
    .slice(0, SHARES_MOST)
    .map(([value, count]) => ({ value, share: Math.round((count / values.length) * 100) / 100 }));
}

function summaryOf(
  id: string,
  episode: Episode,
  value: number,
  high: number,
  addresses: number,
  accounts: number,
  opened: number,
): string {
  const { worst, ratio, usualRatio } = episode;
  const from = `from about ${addresses} ${addresses === 1 ? 'address' : 'addresses'}`;
  const on = accounts > 0 ? ` on about ${accounts} ${accounts === 1 ? 'account' : 'accounts'}` : '';
  const usual = usualRatio === null ? '' : `, usually ${percent(usualRatio)}`;
  const accepted =
    worst.learning === 'cold'
      ? `up to ${high} is accepted without a baseline (${worst.learntHours} h learnt so far)`
      : `normal is up to ${high} (learnt from ${worst.learntHours} h of its own traffic)`;
  const got = opened > 0 ? ` ${opened} of these addresses got in.` : '';
  return (
    `${id}: ${value} attempts with credentials that failed in ${WORDS[worst.size]!}, ${from}${on}; ${accepted}. ` +
    `${percent(ratio)} of the logins failed${usual}.${got}`
  );
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}

type EncodedCounts = [unexplained: number, failures: number, successes: number];
export type EncodedStuffing = [
  newestMs: number,
  late: number,
  scope: EncodedScope,
  usual: [hours: number, ...EncodedCounts],
  hour: [number: number, suspect: Suspect, ...EncodedCounts],
  hours: [number: number, ...EncodedCounts][],
  minutes: [startsAt: number, ...EncodedCounts][],
  episode: [id: string, numbers: number[], usualRatio: number | null, worst: Excess] | 0,
  pool: EncodedMinute | 0,
  dayPool: EncodedMinute | 0,
];

export function encodeStuffing(state: StuffingState): EncodedStuffing {
  const { usual, hour, episode } = state;
  return [
    state.newestMs,
    state.late,
    encodeScope(state.scope),
    [usual.hours, ...encodeCounts(usual)],
    [hour.number, hour.suspect, ...encodeCounts(hour)],
    [...state.hours].map(([number, counts]) => [number, ...encodeCounts(counts)]),
    [...state.minutes].map(([startsAt, counts]) => [startsAt, ...encodeCounts(counts)]),
    episode
      ? [
          episode.id,
          [
            episode.startedAt,
            episode.raisedAt,
            episode.lastSeenAt,
            episode.seen,
            episode.count,
            episode.late,
            episode.ratio,
            episode.revision,
            episode.publishedAt,
            episode.publishedCount,
            episode.publishedRank,
          ],
          episode.usualRatio,
          episode.worst,
        ]
      : 0,
    state.pool ? encodeMinute(state.pool) : 0,
    state.dayPool ? encodeMinute(state.dayPool) : 0,
  ];
}

export function decodeStuffing(encoded: EncodedStuffing): StuffingState {
  const [newestMs, late, scope, usual, hour, pastHours, minutes, episode, pool, dayPool] = encoded;
  const [hours, ...usualCounts] = usual;
  const [number, suspect, ...hourCounts] = hour;
  return {
    newestMs,
    late,
    scope: decodeScope(scope, ATTEMPT_FLOORS),
    usual: { hours, ...decodeCounts(usualCounts) },
    hour: { number, suspect, ...decodeCounts(hourCounts) },
    hours: new Map(pastHours.map(([past, ...counts]) => [past, decodeCounts(counts)])),
    minutes: new Map(minutes.map(([startsAt, ...counts]) => [startsAt, decodeCounts(counts)])),
    episode: episode === 0 ? null : decodeEpisode(episode),
    pool: pool === 0 ? null : decodeMinute(pool),
    dayPool: dayPool === 0 ? null : decodeMinute(dayPool),
  };
}

function encodeCounts({ unexplained, failures, successes }: Counts): EncodedCounts {
  return [unexplained, failures, successes];
}

function decodeCounts([unexplained, failures, successes]: EncodedCounts): Counts {
  return { unexplained, failures, successes };
}

function decodeEpisode([id, numbers, usualRatio, worst]: Exclude<EncodedStuffing[7], 0>): Episode {
  const [
    startedAt,
    raisedAt,
    lastSeenAt,
    seen,
    count,
    late,
    ratio,
    revision,
    publishedAt,
    publishedCount,
    publishedRank,
  ] = numbers as [number, number, number, number, number, number, number, number, number, number, number];
  return {
    id,
    startedAt,
    raisedAt,
    lastSeenAt,
    seen,
    count,
    late,
    ratio,
    revision,
    publishedAt,
    publishedCount,
    publishedRank,
    usualRatio,
    worst,
  };
}
