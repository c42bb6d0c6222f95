import { severityOf, type Alert } from '@tripline/model';
import {
  CALL_WEIGHT,
  COLD_DECAY,
  COLD_HOURS,
  DAY_MS,
  HOUR_MS,
  LATENESS_MS,
  SAMPLES_MOST,
  WINDOW_MS,
} from '../../baseline/limits.ts';
import { alertId, isNews, markPublished, scoreOf, type Growing } from '../../alerts/episode.ts';
import { floorsAt, noPeers, type Floors } from '../../baseline/profile.ts';
import {
  countCall,
  EXCEEDED,
  settle,
  settlesAt,
  WARM,
  acceptedUpTo,
  worstExcess,
  type Excess,
} from '../../baseline/window-counts.ts';
import {
  addOpened,
  beginOpened,
  decodeAccounts,
  encodeAccounts,
  lookAt,
  moveOn,
  newAccountMemory,
  ownersShare,
  strangersExcess,
  usualShare,
  type AccountMemory,
  type EncodedAccounts,
} from './accounts.ts';
import { toleranceOf, type Tolerance } from '../../baseline/sensitivity.ts';
import { alertSources } from '../../alerts/tally.ts';
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
  STUFFING_PAUSE_MS,
  STUFFING_QUIET_MS,
  SUCCESSOR_TIMES,
  USUAL_MEMORY,
} from '../../across-actors/limits.ts';
import {
  decodeMinute,
  encodeMinute,
  mergeMinute,
  newMinute,
  openedSources,
  unexplainedAmong,
  unexplainedOf,
  type EncodedMinute,
  type EndpointMinute,
  type IsAsked,
} from '../../across-actors/endpoint-minute.ts';
import type { WholeMinute } from '../../across-actors/minute-hold.ts';
import {
  decodeGrowing,
  encodeGrowing,
  type EncodedGrowing,
  decodeScope,
  encodeScope,
  excuse,
  newScope,
  type EncodedScope,
  type Scope,
} from '../../legacy-across.ts';

const REFERENCES = ['OWASP API2:2023', 'MITRE ATT&CK T1110.004'];
const LONG_WINDOW_MS = WINDOW_MS[2];
const MINUTES_KEPT = LATENESS_MS / ENDPOINT_WINDOW_MS + 1;
/** By measure and size of window: of attempts the first counts the same as the second, see ATTEMPT_FLOORS. */
const SPAN_MS = [ENDPOINT_WINDOW_MS, ENDPOINT_WINDOW_MS, LONG_WINDOW_MS, DAY_MS, HOUR_MS, DAY_MS] as const;
const UNITS = [
  'attempts/min',
  'attempts/min',
  'attempts/10min',
  'attempts/day',
  'accounts/h',
  'accounts/day',
] as const;
const WORDS = ['1 min', '1 min', '10 min', '24 h', '1 h', '24 h'] as const;
/** Size of the window of attempts that is judged once an hour. */
const DAY = 3;
/** From here on the count is one of accounts that were tried from where they never came from. */
const STRANGERS = 4;

/** What counts of a minute, or of several. */
interface Counts {
  unexplained: number;
  /** Estimate of those that were not made before on the same day. */
  fresh: number;
  failures: number;
  successes: number;
}

/**
 * What is usual: sums over past hours, of which older ones weigh less and less. `fresh` is learnt a day later than the rest, so that
 * a day is judged by what was before it.
 */
interface Usual extends Counts {
  hours: number;
  freshHours: number;
}

interface Episode extends Growing {
  id: string;
  /** Failures since startedAt, whether their window exceeded or not, and successes of strangers. */
  seen: number;
  /** Late failures of the endpoint when the latest window exceeded. */
  late: number;
  worst: Excess;
  /** Share of failures among failures and successes in that window, and what it usually was; null if not known. */
  ratio: number;
  usualRatio: number | null;
  /** Of all windows that exceeded, the highest number per hour. */
  mostPerHour: number;
  /** Event time of the excess that ended the latest pause of STUFFING_PAUSE_MS; 0 if there was none. */
  resumedAt: number;
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
  /** The hour under way, and whether it must not be learnt: because of a burst in it, or as an episode is open. */
  hour: Counts & { number: number; suspect: Suspect };
  /** The latest hours without a burst, at most DAY_HOURS, by their number. */
  hours: Map<number, Counts>;
  /** The latest windows, at most MINUTES_KEPT, by their start. */
  minutes: Map<number, Counts>;
  episode: Episode | null;
  /** Together: the windows near or over a threshold, of the episode, else of the newest 600 s. */
  pool: EndpointMinute | null;
  /** Together: all windows with failures, of the episode, else of the day under way. */
  dayPool: EndpointMinute | null;
  memory: AccountMemory;
}

type Suspect = 'no' | 'burst' | 'open';

const nothing = (): Counts => ({ unexplained: 0, fresh: 0, failures: 0, successes: 0 });

/** `tolerance` is that of the detector's sensitivity. */
export function newStuffingState(tolerance: Tolerance): StuffingState {
  return {
    newestMs: 0,
    late: 0,
    scope: newScope(floorsAfter(0, tolerance)),
    usual: { hours: 0, freshHours: 0, ...nothing() },
    hour: { number: 0, suspect: 'no', ...nothing() },
    hours: new Map(),
    minutes: new Map(),
    episode: null,
    pool: null,
    dayPool: null,
    memory: newAccountMemory(),
  };
}

/** Is the window worth a state of its own for an endpoint that has none? */
export function isOfNote(minute: EndpointMinute): boolean {
  if (minute.failures >= FAILURES_OF_NOTE) return true;
  return minute.successes > 0 && (minute.failures > 0 || minute.tried !== null);
}

/**
 * Judges one window of the endpoint. `nowMs`: end of the step in which it is judged; `told`: addresses of which another alert
 * tells.
 */
export function judgeMinute(
  state: StuffingState,
  whole: WholeMinute,
  nowMs: number,
  told: ReadonlySet<string>,
  tolerance: Tolerance,
): Alert[] {
  const alerts: Alert[] = [];
  const { minute } = whole;
  const atMs = whole.window * ENDPOINT_WINDOW_MS;
  if (atMs < state.newestMs - LATENESS_MS) {
    state.late += minute.failures;
    return alerts;
  }
  if (state.episode && atMs >= endsAt(state.episode)) alerts.push(closeEpisode(state, whole, nowMs));
  moveOn(state.memory, atMs, state.episode !== null);
  if (atMs > state.newestMs) {
    if (!state.episode && longWindowOf(atMs) !== longWindowOf(state.newestMs)) state.pool = null;
    state.newestMs = atMs;
  }
  const { scope } = state;
  if (state.newestMs >= settlesAt(scope))
    settle(scope, noPeers(), state.newestMs, state.episode?.startedAt ?? Infinity, false);

  const { failures, successes, tried } = minute;
  // Owners who mistype their own passwords, be it four times as often as usual, are no attack.
  const owners = failures > 0 && tried ? ownersShare(state.memory, tried) : 0;
  const unexplained = Math.round(unexplainedOf(minute, told).attempts * (1 - owners));
  const fresh = freshAttempts(state, minute, told);
  const now: Counts = { unexplained, fresh, failures, successes };
  if (remember(state, atMs, now, tolerance)) alerts.push(...judgeDay(state, whole, nowMs, tolerance));
  if (minute.failures > 0) mergeMinute((state.dayPool ??= newMinute()), minute);
  if (minute.tried) alerts.push(...judgeStrangers(state, whole, nowMs, tolerance));
  const heat = countCall(scope, noPeers(), atMs, unexplained * CALL_WEIGHT);
  const { episode } = state;
  if (episode && atMs >= episode.startedAt) episode.seen += minute.failures;
  if (heat < WARM) return alerts;
  mergeMinute((state.pool ??= newMinute()), minute);
  if (heat < EXCEEDED) return alerts;

  const excess = worstExcess(scope, atMs);
  if (excess.learning === 'cold' && state.usual.hours >= COLD_HOURS) {
    excess.learning = 'overall';
    excess.learntHours = state.usual.hours;
  }
  const within = sumOf(state, excess);
  const odds = oddsOf(within.unexplained, within.successes);
  const usualOdds = oddsOf(state.usual.unexplained, state.usual.successes);
  if (!isShifted(state.usual, odds, usualOdds) || unexplainedOf(state.pool, told).share < SHARE_LEAST) {
    if (!episode) excuse(scope, atMs);
    return alerts;
  }
  state.hour.suspect = 'burst';
  const lastSeenAt = Math.max(atMs, minute.failing?.newestAt ?? 0);
  alerts.push(...exceed(state, whole, excess, within, lastSeenAt, nowMs));
  return alerts;
}

/**
 * How many of the minute's unexplained attempts were not made before, as far as `dayPool` goes back: a client that repeats itself
 * is one attempt a day, not one a minute, and says nothing about the others of its minutes. Where samples are full, those that
 * both would have kept stand for all.
 */
function freshAttempts(
  { dayPool, memory }: StuffingState,
  minute: EndpointMinute,
  told: ReadonlySet<string>,
): number {
  const { failing, tried } = minute;
  if (!failing) return 0;
  const before = dayPool?.failing?.attempts;
  const isFresh: IsAsked = (pair, hash) =>
    before === undefined || (hash <= before.completeTo && before.get(pair) === undefined);
  const unexplained = unexplainedAmong(minute, told, isFresh);
  if (unexplained === 0) return 0;
  const owners = tried ? ownersShare(memory, tried, isFresh) : 0;
  return (unexplained * (1 - owners)) / Math.min(before?.rate ?? 1, failing.attempts.rate);
}

/** Begins the episode, or goes on with it. */
function exceed(
  state: StuffingState,
  of: WholeMinute,
  excess: Excess,
  within: Counts,
  lastSeenAt: number,
  nowMs: number,
): Alert[] {
  const alerts: Alert[] = [];
  let { episode } = state;
  if (episode && isAnother(episode, excess, lastSeenAt)) {
    alerts.push(closeEpisode(state, of, nowMs));
    episode = null;
    // What the minute brought belongs to the new one.
    mergeMinute((state.dayPool = newMinute()), of.minute);
    if (excess.size < DAY) mergeMinute((state.pool = newMinute()), of.minute);
  }
  if (!episode) {
    episode = state.episode = raise(state, of, excess, within, lastSeenAt, nowMs);
    beginOpened(state.memory, excess.startsAt);
  } else {
    goOn(episode, lastSeenAt);
    episode.mostPerHour = Math.max(episode.mostPerHour, perHourOf(excess));
    episode.count = episode.seen;
    episode.late = state.late;
    if (excess.factor > episode.worst.factor) {
      episode.worst = excess;
      episode.ratio = ratioOf(within);
    }
  }
  if (isNews(episode, scoreOf(episode.worst.factor), nowMs)) alerts.push(publish(state, of, 'open', nowMs));
  return alerts;
}

/** Does what exceeds at `atMs` belong to another incident than the open episode, which paused and was far smaller? */
function isAnother(episode: Episode, excess: Excess, atMs: number): boolean {
  const resumedAt = atMs >= episode.lastSeenAt + STUFFING_PAUSE_MS ? atMs : episode.resumedAt;
  return (
    SPAN_MS[excess.size]! <= HOUR_MS &&
    resumedAt > 0 &&
    atMs < resumedAt + HOUR_MS &&
    perHourOf(excess) >= SUCCESSOR_TIMES * episode.mostPerHour
  );
}

/** The episode is not over at `atMs`. */
function goOn(episode: Episode, atMs: number): void {
  if (atMs >= episode.lastSeenAt + STUFFING_PAUSE_MS) episode.resumedAt = atMs;
  episode.lastSeenAt = Math.max(episode.lastSeenAt, atMs);
}

function perHourOf({ size, count }: Excess): number {
  return (count / CALL_WEIGHT) * (HOUR_MS / SPAN_MS[size]!);
}

/** Are many accounts tried from where they never came from, within an hour or a day? */
function judgeStrangers(
  state: StuffingState,
  whole: WholeMinute,
  nowMs: number,
  tolerance: Tolerance,
): Alert[] {
  const { memory, episode } = state;
  const atMs = whole.window * ENDPOINT_WINDOW_MS;
  const seen = lookAt(memory, whole.minute.tried!, atMs, episode !== null);
  // Those that were refused are among the failures.
  if (episode) episode.seen += seen.accepted;
  if (seen.strangers === 0) return [];
  const found = strangersExcess(memory, atMs + ENDPOINT_WINDOW_MS, tolerance);
  if (!found) return [];
  const { spanMs, startsAt, value, high, expected, daysLearnt } = found;
  const excess: Excess = {
    size: spanMs === HOUR_MS ? STRANGERS : STRANGERS + 1,
    startsAt,
    count: value * CALL_WEIGHT,
    high: high * CALL_WEIGHT,
    expected: Math.round(expected * CALL_WEIGHT),
    factor: value / high,
    learning: 'overall',
    learntHours: daysLearnt * DAY_HOURS,
  };
  if (state.hour.suspect === 'no') state.hour.suspect = 'open';
  return exceed(state, whole, excess, dayOf(state), atMs, nowMs);
}

/** Once an hour: are the attempts of the last 24 h far more than a day's, although no ten minutes were? */
function judgeDay(state: StuffingState, of: WholeMinute, nowMs: number, tolerance: Tolerance): Alert[] {
  const { usual } = state;
  if (usual.hours < DAY_LEARNT_HOURS) return [];
  const within = dayOf(state);
  const perHour = usual.freshHours === 0 ? 0 : usual.fresh / weightOf(usual.freshHours);
  const expected = perHour * DAY_HOURS;
  const high = Math.max(
    tolerance.count(DAY_ATTEMPTS_LEAST),
    Math.ceil(tolerance.factor(DAY_TIMES) * expected),
  );
  const value = Math.round(within.fresh);
  const usualOdds = oddsOf(perHour * weightOf(usual.hours), usual.successes);
  const isMore = value > high && isShifted(usual, oddsOf(within.fresh, within.successes), usualOdds);
  if (!isMore || state.dayPool === null) return [];
  const excess: Excess = {
    size: DAY,
    startsAt: Math.min(...state.hours.keys()) * HOUR_MS,
    count: value * CALL_WEIGHT,
    high: high * CALL_WEIGHT,
    expected: Math.round(expected * CALL_WEIGHT),
    factor: value / high,
    learning: 'overall',
    learntHours: usual.hours,
  };
  state.hour.suspect = 'open';
  return exceed(state, of, excess, within, state.newestMs, nowMs);
}

/** What came in the latest hours without a burst. */
function dayOf(state: StuffingState): Counts {
  const sum = nothing();
  for (const counts of state.hours.values()) addCounts(sum, counts);
  return sum;
}

function endsAt(episode: Episode): number {
  return episode.lastSeenAt + STUFFING_QUIET_MS;
}

/** Alerts about single addresses that are part of the open episode. */
export function absorbReports({ episode, memory }: StuffingState, reports: readonly Alert[]): void {
  for (const { lastSeenAt, actor, evidence } of reports) {
    if (episode) goOn(episode, lastSeenAt);
    for (const account of evidence['opened'] as string[]) addOpened(memory, account, actor.id);
  }
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
function remember(state: StuffingState, atMs: number, now: Counts, tolerance: Tolerance): boolean {
  const { minutes } = state;
  const known = minutes.get(atMs);
  if (known) addCounts(known, now);
  else minutes.set(atMs, { ...now });
  for (const startsAt of minutes.keys())
    if (startsAt <= state.newestMs - MINUTES_KEPT * ENDPOINT_WINDOW_MS) minutes.delete(startsAt);

  const number = Math.floor(state.newestMs / HOUR_MS);
  const isNewHour = number !== state.hour.number;
  if (isNewHour) {
    const { usual, hour, hours, episode, scope } = state;
    if (hour.suspect === 'no' && hour.failures + hour.successes > 0) {
      usual.hours++;
      for (const what of ['unexplained', 'failures', 'successes'] as const)
        learnUsual(usual, what, hour[what]);
    }
    // A burst is told of by its own alert: the day without it is judged.
    if (hour.suspect !== 'burst' && hour.failures + hour.successes > 0)
      hours.set(hour.number, {
        unexplained: hour.unexplained,
        fresh: Math.round(hour.fresh * 10) / 10,
        failures: hour.failures,
        successes: hour.successes,
      });
    for (const [old, { fresh }] of hours) {
      if (old >= number - DAY_HOURS) continue;
      hours.delete(old);
      // An episode is open for longer than a day after what it is about.
      if (episode) continue;
      usual.freshHours++;
      learnUsual(usual, 'fresh', fresh);
    }
    scope.floors = floorsAfter(usual.hours, tolerance);
    // The addresses of a day, as long as nothing is known to be under way.
    if (!episode && Math.floor(number / DAY_HOURS) !== Math.floor(hour.number / DAY_HOURS))
      state.dayPool = null;
    state.hour = { number, suspect: episode ? 'open' : 'no', ...nothing() };
  }
  addCounts(state.hour, now);
  return isNewHour;
}

function learnUsual(usual: Usual, what: keyof Counts, value: number): void {
  usual[what] = Math.round((usual[what] * (1 - 1 / USUAL_MEMORY) + value) * 100) / 100;
}

/**
 * An endpoint without unexplained attempts learns no level of them, but is known all the same: what is accepted without a baseline
 * sinks with its hours as it does for a scope that has one.
 */
function floorsAfter(hours: number, tolerance: Tolerance): Floors {
  const { least: normal } = ATTEMPT_FLOORS;
  const [leastShort, leastMinute, leastLong] = [
    tolerance.count(normal[0], normal[0]),
    tolerance.count(normal[1], normal[1]),
    tolerance.count(normal[2], normal[2]),
  ];
  const least = [leastShort, leastMinute, leastLong] as const;
  const floors: Floors = { ...floorsAt(ATTEMPT_FLOORS, tolerance), least };
  if (tolerance.isStrict) floors.normal = floorsAfter(hours, toleranceOf('normal'));
  if (hours < COLD_HOURS) return floors;
  const share = (COLD_HOURS / hours) ** COLD_DECAY;
  const [short, minute, long] = floors.cold;
  const sunk = (cold: number, least: number): number => Math.max(least, Math.round(cold * share));
  return {
    ...floors,
    cold: [sunk(short, leastShort), sunk(minute, leastMinute), sunk(long, leastLong)],
  };
}

function addCounts(counts: Counts, more: Counts): void {
  counts.unexplained += more.unexplained;
  counts.fresh += more.fresh;
  counts.failures += more.failures;
  counts.successes += more.successes;
}

/** What came in the window that exceeded, so far. */
function sumOf(state: StuffingState, excess: Excess): Counts {
  const sum = nothing();
  const endsAt = excess.startsAt + SPAN_MS[excess.size]!;
  for (const [startsAt, counts] of state.minutes)
    if (startsAt >= excess.startsAt && startsAt < endsAt) addCounts(sum, counts);
  return sum;
}

/** Is the ratio of attempts to successes clearly above what it usually is? */
function isShifted({ hours }: Usual, odds: number, usualOdds: number): boolean {
  return odds >= ODDS_SHIFT * Math.max(hours < COLD_HOURS ? ODDS_COLD : ODDS_LEAST, usualOdds);
}

function oddsOf(attempts: number, successes: number): number {
  return attempts / (successes + 1);
}

/** What the weights of so many hours in `Usual` add up to. */
function weightOf(hours: number): number {
  return USUAL_MEMORY * (1 - (1 - 1 / USUAL_MEMORY) ** hours);
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
    seen: Math.max(within.failures, Math.round(excess.count / CALL_WEIGHT)),
    count: Math.max(within.failures, Math.round(excess.count / CALL_WEIGHT)),
    late: state.late,
    worst: excess,
    ratio: ratioOf(within),
    usualRatio: state.usual.hours > 0 ? ratioOf(state.usual) : null,
    mostPerHour: perHourOf(excess),
    resumedAt: 0,
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
  const { worst } = episode;
  const isOfStrangers = worst.size >= STRANGERS;
  const pool = (worst.size >= DAY ? state.dayPool : state.pool) ?? newMinute();
  const { failing } = pool;
  const strangers = [...state.memory.strangers.values()].filter(({ atMs }) => atMs >= episode.startedAt);
  const score = scoreOf(worst.factor);
  markPublished(episode, score, nowMs);

  const unit = UNITS[worst.size]!;
  const value = Math.round(worst.count / CALL_WEIGHT);
  const high = Math.floor(worst.high / CALL_WEIGHT);
  const opened = openedBy(state, pool);
  const id = endpointId(of);
  const addresses = isOfStrangers
    ? new Set(strangers.map(({ ip }) => ip)).size
    : (failing?.sources.distinct() ?? 0);
  const accounts = isOfStrangers ? strangers.length : (failing?.accounts.distinct() ?? 0);
  // Of the strangers, or of a fair sample of the failed calls.
  const calls = isOfStrangers
    ? strangers.map((one) => ({ ...one, userAgent: null }))
    : (failing?.calls.sorted() ?? []).map(([callId, { value: call }]) => ({ ...call, callId }));
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
    summary: summaryOf(id, episode, value, high, addresses, accounts, opened.size),
    sources: alertSources(
      isOfStrangers
        ? strangers.map((one) => ({ ...one, count: 1 }))
        : (failing?.sources.sorted() ?? []).map(([ip, { value: from }]) => ({
            ...from,
            ip,
            count: from.failures,
          })),
    ),
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
      distinctAttempts: failing?.attempts.distinct() ?? 0,
      // Accounts of the last 24 hours that were tried from where they never came from.
      triedFromElsewhere: strangers.length,
      failures: pool.failures,
      refusedByKong: failing?.byKong ?? 0,
      successes: pool.successes,
      serverErrors: pool.serverErrors,
      // Beside the share of the accounts that came from there before.
      networks: shares(calls.map((call) => call.asn)).map((one) => ({
        ...one,
        usualShare: usualShare(state.memory, { asn: one.value }),
      })),
      countries: shares(calls.map((call) => call.country)).map((one) => ({
        ...one,
        usualShare: usualShare(state.memory, { country: one.value }),
      })),
      userAgents: shares(calls.map((call) => call.userAgent)),
      // Who got in from where the account never came from, or after more failures than mistyping explains.
      opened: [...opened].map(([ip, names]) => ({ ip, accounts: [...names] })),
      lateFailures: episode.late,
    },
    sampleCallIds: calls.slice(0, SAMPLES_MOST).map(({ callId }) => callId),
    references: [...REFERENCES],
  };
}

/** Accounts that were opened, by address: at most OPENED_MOST of each. */
function openedBy({ memory }: StuffingState, pool: EndpointMinute): Map<string, Set<string>> {
  const opened = new Map<string, Set<string>>();
  const add = (ip: string, accounts: readonly string[]): void => {
    const known = opened.get(ip);
    if (known) for (const account of accounts) known.add(account);
    else if (opened.size < OPENED_MOST) opened.set(ip, new Set(accounts));
  };
  for (const [account, ip] of memory.opened) add(ip, [account]);
  for (const { ip, accounts } of openedSources(pool)) add(ip, accounts);
  return opened;
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
  const got = opened > 0 ? ` ${opened} of these addresses got in.` : '';
  const seen =
    worst.size >= STRANGERS
      ? `${value} accounts tried in ${WORDS[worst.size]!} from countries, or networks and clients, that they never came from`
      : `${value} attempts with credentials that failed in ${WORDS[worst.size]!}, ${from}${on}`;
  return `${id}: ${seen}; ${acceptedUpTo(high, worst)}. ${percent(ratio)} of the logins failed${usual}.${got}`;
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}

type EncodedCounts = [unexplained: number, fresh: number, failures: number, successes: number];
export type EncodedStuffing = [
  newestMs: number,
  late: number,
  scope: EncodedScope,
  usual: [hours: number, freshHours: number, ...EncodedCounts],
  hour: [number: number, suspect: Suspect, ...EncodedCounts],
  hours: [number: number, ...EncodedCounts][],
  minutes: [startsAt: number, ...EncodedCounts][],
  episode:
    | [
        id: string,
        numbers: [
          ...EncodedGrowing,
          seen: number,
          late: number,
          ratio: number,
          mostPerHour: number,
          resumedAt: number,
        ],
        usualRatio: number | null,
        worst: Excess,
      ]
    | 0,
  pool: EncodedMinute | 0,
  dayPool: EncodedMinute | 0,
  memory: EncodedAccounts,
];

export function encodeStuffing(state: StuffingState): EncodedStuffing {
  const { usual, hour, episode } = state;
  return [
    state.newestMs,
    state.late,
    encodeScope(state.scope),
    [usual.hours, usual.freshHours, ...encodeCounts(usual)],
    [hour.number, hour.suspect, ...encodeCounts(hour)],
    [...state.hours].map(([number, counts]) => [number, ...encodeCounts(counts)]),
    [...state.minutes].map(([startsAt, counts]) => [startsAt, ...encodeCounts(counts)]),
    episode
      ? [
          episode.id,
          [
            ...encodeGrowing(episode),
            episode.seen,
            episode.late,
            episode.ratio,
            episode.mostPerHour,
            episode.resumedAt,
          ],
          episode.usualRatio,
          episode.worst,
        ]
      : 0,
    state.pool ? encodeMinute(state.pool) : 0,
    state.dayPool ? encodeMinute(state.dayPool) : 0,
    encodeAccounts(state.memory),
  ];
}

/** `tolerance` as for a new state. */
export function decodeStuffing(encoded: EncodedStuffing, tolerance: Tolerance): StuffingState {
  const [newestMs, late, scope, usual, hour, pastHours, minutes, episode, pool, dayPool, memory] = encoded;
  const [hours, freshHours, ...usualCounts] = usual;
  const [number, suspect, ...hourCounts] = hour;
  return {
    newestMs,
    late,
    scope: decodeScope(scope, floorsAfter(hours, tolerance)),
    usual: { hours, freshHours, ...decodeCounts(usualCounts) },
    hour: { number, suspect, ...decodeCounts(hourCounts) },
    hours: new Map(pastHours.map(([past, ...counts]) => [past, decodeCounts(counts)])),
    minutes: new Map(minutes.map(([startsAt, ...counts]) => [startsAt, decodeCounts(counts)])),
    episode: episode === 0 ? null : decodeEpisode(episode),
    pool: pool === 0 ? null : decodeMinute(pool),
    dayPool: dayPool === 0 ? null : decodeMinute(dayPool),
    memory: decodeAccounts(memory),
  };
}

function encodeCounts({ unexplained, fresh, failures, successes }: Counts): EncodedCounts {
  return [unexplained, fresh, failures, successes];
}

function decodeCounts([unexplained, fresh, failures, successes]: EncodedCounts): Counts {
  return { unexplained, fresh, failures, successes };
}

function decodeEpisode([id, numbers, usualRatio, worst]: Exclude<EncodedStuffing[7], 0>): Episode {
  const [seen, late, ratio, mostPerHour, resumedAt] = numbers.slice(-5) as [
    number,
    number,
    number,
    number,
    number,
  ];
  return { ...decodeGrowing(numbers), id, seen, late, ratio, usualRatio, worst, mostPerHour, resumedAt };
}
