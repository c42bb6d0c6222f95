import { sourceOf, type Alert, type ApiCall } from '@tripline/model';
import { isAuthFailure, isAuthSuccess } from '../auth-outcome.ts';
import {
  AGENT_LENGTH_MOST,
  ATTEMPTS_KEPT,
  FAILED_CALLS_KEPT,
  MANY_ATTEMPTS,
  NAMES_KEPT,
  REPORTS_MOST,
  SOURCES_KEPT,
  SUCCEEDED_KEPT,
  TRIES_PER_SUCCESS,
} from './limits.ts';
import {
  addCaller,
  decodeCallers,
  encodeCallers,
  mergeCallers,
  newCallers,
  type Callers,
  type EncodedCallers,
} from '../detectors/request-spike/crowd.ts';
import {
  decodeWalked,
  encodeWalked,
  mergeWalked,
  newWalked,
  type EncodedWalked,
  type Walked,
} from '../detectors/object-enumeration/id-coverage.ts';
import { Sample, sampleHash } from '../sketches/sample.ts';
import {
  addTry,
  decodeTried,
  encodeTried,
  mergeTried,
  type EncodedTried,
  type Tried,
} from '../detectors/credential-stuffing/tries.ts';

/** A source address (of IPv6 its /64, see `sourceOf`) whose calls failed. Wherever it says `ip` below, that is meant. */
interface FailingSource {
  failures: number;
  country: string | null;
  asn: number | null;
}

/** A failed call as one of many: from a fair sample of them follows what share each network or client has. */
interface FailedCall {
  ip: string;
  userAgent: string;
  country: string | null;
  asn: number | null;
}

/** A pair of address and account that failed, both as far as the calls tell. */
interface Attempt {
  ip: string;
  account: string;
  failures: number;
}

/** What the failed calls of an endpoint have in common. */
interface Failing {
  /** Event time of the newest, ms. */
  newestAt: number;
  /** Those that Kong itself refused; the others are the upstream's. */
  byKong: number;
  /** Distinct pairs of address and account: one client that repeats itself is one attempt. */
  attempts: Sample<Attempt>;
  sources: Sample<FailingSource>;
  /** Tokens of the users, else of the credentials, that were presented, with the number of failures. */
  accounts: Sample<{ failures: number }>;
  /** By call id. */
  calls: Sample<FailedCall>;
}

/** A source address whose calls succeeded, and as whom: at most NAMES_KEPT, the first ones in order. */
interface SucceededSource {
  calls: number;
  names: string[];
}

/**
 * What happened on one endpoint within a minute of event time, as one partition of `api-calls` saw it, or several together:
 * `mergeMinute` is commutative and associative, so that the whole does not depend on how the calls were spread, nor on the
 * order in which the parts come. Bounded: 30 KB as text under attack, 40 bytes without calls of note.
 */
export interface EndpointMinute {
  /** All but those that Kong turned away from a known consumer (our own blocks look like that). */
  calls: number;
  successes: number;
  failures: number;
  /** Status 5xx or 499: neither a success nor a failure. */
  serverErrors: number;
  failing: Failing | null;
  succeeded: Sample<SucceededSource> | null;
  walked: Walked | null;
  tried: Tried | null;
  /** Open alerts about single addresses that try credentials here, by their ids: at most REPORTS_MOST, the first in order. */
  reports: Map<string, Alert> | null;
  /** Of the calls that are neither failures nor server errors. */
  callers: Callers | null;
}

export function newMinute(): EndpointMinute {
  return {
    calls: 0,
    successes: 0,
    failures: 0,
    serverErrors: 0,
    failing: null,
    succeeded: null,
    walked: null,
    tried: null,
    reports: null,
    callers: null,
  };
}

/** Adds an alert about an address; of several revisions of one alert the latest counts. */
export function addReport(minute: EndpointMinute, alert: Alert): void {
  const reports = (minute.reports ??= new Map<string, Alert>());
  const known = reports.get(alert.id);
  if (known && known.revision >= alert.revision) return;
  reports.set(alert.id, alert);
  if (reports.size <= REPORTS_MOST) return;
  let last = '';
  for (const id of reports.keys()) if (id > last) last = id;
  reports.delete(last);
}

/** How the tokens of users begin, other than those of keys. */
const USER_TOKEN = '~user~';

/** Adds a call; a challenge only to the number of calls. `call.refused` must not be set. */
export function addToMinute(minute: EndpointMinute, call: ApiCall): void {
  minute.calls++;
  const { status } = call;
  if (isAuthSuccess(call)) {
    minute.successes++;
    const source = sourceOf(call);
    if (source !== undefined) addSuccess((minute.succeeded ??= new Sample(SUCCEEDED_KEPT)), call, source);
    minute.tried = addTry(minute.tried, call, true);
  } else if (isAuthFailure(call)) {
    minute.failures++;
    addFailure((minute.failing ??= newFailing()), call);
    minute.tried = addTry(minute.tried, call, false);
    return;
  } else if (call.auth === 'challenge') {
    return;
  } else if (status >= 500 || status === 499) {
    minute.serverErrors++;
    return;
  }
  addCaller((minute.callers ??= newCallers()), call);
}

function newFailing(): Failing {
  return {
    newestAt: 0,
    byKong: 0,
    attempts: new Sample(ATTEMPTS_KEPT),
    sources: new Sample(SOURCES_KEPT),
    accounts: new Sample(SOURCES_KEPT),
    calls: new Sample(FAILED_CALLS_KEPT),
  };
}

const noCalls = (): SucceededSource => ({ calls: 0, names: [] });
const noFailures = (): { failures: number } => ({ failures: 0 });

function addSuccess(succeeded: Sample<SucceededSource>, call: ApiCall, from: string): void {
  const hash = sampleHash(from);
  if (!succeeded.takes(hash)) return;
  const source = succeeded.pick(from, hash, noCalls);
  if (!source) return;
  source.calls++;
  const name = call.consumerId === undefined ? (call.user ?? call.credential) : call.actorName;
  if (name !== undefined) addName(source.names, name);
}

/** Keeps the first NAMES_KEPT in order of their characters, sorted. */
function addName(names: string[], name: string): void {
  if (names.includes(name)) return;
  if (names.length >= NAMES_KEPT && name > names.at(-1)!) return;
  names.push(name);
  names.sort();
  if (names.length > NAMES_KEPT) names.pop();
}

/** Key of an attempt in `Failing.attempts`. */
export function attemptKey(ip: string, account: string): string {
  return `${ip} ${account}`;
}

function addFailure(failing: Failing, call: ApiCall): void {
  const { country = null, asn = null } = call;
  const ip = sourceOf(call) ?? '';
  failing.newestAt = Math.max(failing.newestAt, call.startedAt);
  if (call.source === 'kong') failing.byKong++;

  const account = call.user ?? call.credential;
  const pair = attemptKey(ip, account ?? '');
  const attempt = failing.attempts.pick(pair, sampleHash(pair), () => ({
    ip,
    account: account ?? '',
    failures: 0,
  }));
  if (attempt) attempt.failures++;
  if (ip !== '') {
    const source = failing.sources.pick(ip, sampleHash(ip), () => ({ failures: 0, country, asn }));
    if (source) {
      source.failures++;
      locate(source, country, asn);
    }
  }
  if (account !== undefined) {
    const known = failing.accounts.pick(account, sampleHash(account), noFailures);
    if (known) known.failures++;
  }
  failing.calls.pick(call.id, sampleHash(call.id), () => ({
    ip,
    userAgent: (call.userAgent ?? '').slice(0, AGENT_LENGTH_MOST),
    country,
    asn,
  }));
}

/** Adds `other` to `minute`; `other` stays as it is. */
export function mergeMinute(minute: EndpointMinute, other: EndpointMinute): void {
  minute.calls += other.calls;
  minute.successes += other.successes;
  minute.failures += other.failures;
  minute.serverErrors += other.serverErrors;
  if (other.failing) mergeFailing((minute.failing ??= newFailing()), other.failing);
  if (other.walked) mergeWalked((minute.walked ??= newWalked()), other.walked);
  minute.tried = mergeTried(minute.tried, other.tried);
  for (const alert of other.reports?.values() ?? []) addReport(minute, alert);
  if (other.callers) mergeCallers((minute.callers ??= newCallers()), other.callers);
  if (other.succeeded) {
    const succeeded = (minute.succeeded ??= new Sample(SUCCEEDED_KEPT));
    for (const [ip, { hash, value }] of other.succeeded.entries()) {
      const source = succeeded.pick(ip, hash, noCalls);
      if (!source) continue;
      source.calls += value.calls;
      for (const name of value.names) addName(source.names, name);
    }
  }
}

function mergeFailing(failing: Failing, other: Failing): void {
  failing.newestAt = Math.max(failing.newestAt, other.newestAt);
  failing.byKong += other.byKong;
  for (const [pair, { hash, value }] of other.attempts.entries()) {
    const attempt = failing.attempts.pick(pair, hash, () => ({ ...value, failures: 0 }));
    if (attempt) attempt.failures += value.failures;
  }
  for (const [ip, { hash, value }] of other.sources.entries()) {
    const { country, asn } = value;
    const source = failing.sources.pick(ip, hash, () => ({ failures: 0, country, asn }));
    if (!source) continue;
    source.failures += value.failures;
    locate(source, country, asn);
  }
  for (const [account, { hash, value }] of other.accounts.entries()) {
    const known = failing.accounts.pick(account, hash, noFailures);
    if (known) known.failures += value.failures;
  }
  for (const [id, { hash, value }] of other.calls.entries()) failing.calls.pick(id, hash, () => value);
}

/** Where the databases of two collectors disagree: the same choice in whatever order they come. */
function locate(source: FailingSource, country: string | null, asn: number | null): void {
  source.country = greater(source.country, country);
  source.asn = greater(source.asn, asn);
}

function greater<T extends string | number>(a: T | null, b: T | null): T | null {
  if (a === null || b === null) return a ?? b;
  return a > b ? a : b;
}

/** How many of the failed attempts nothing harmless explains. */
export interface Unexplained {
  /** Estimate that is rather too low than too high. */
  attempts: number;
  /** Their share of all failed attempts, 0 to 1, as likely too high as too low; 1 where nothing is known. */
  share: number;
}

/** Is the attempt of this key and hash, as in `Failing.attempts`, one that is asked about? */
export type IsAsked = (pair: string, hash: number) => boolean;

const nobody: ReadonlySet<string> = new Set();

/**
 * Who mistypes, or presents a token that ran out, gets in a moment later from the same address; who tries stolen passwords
 * does not. Each success of an address explains TRIES_PER_SUCCESS of its failures. Many addresses with one account are
 * explained as well: a fleet with a stale key, or one account under attack, which is not for this measure to find.
 *
 * Addresses that succeeded are sampled. Below the hash to which that sample is complete it is known of each attempt whether
 * its address got in; the share among those stands for all. The fewer they are, the less it is trusted (lower end of the
 * score interval of Wilson, "Probable inference", JASA 1927, with z = 2). An address with many of the attempts speaks for itself: where
 * it is not known whether it got in, it is taken not to have. Addresses that were `told` of are explained, and so are those that
 * try many keys: that is no list of accounts, and judged where addresses are.
 */
export function unexplainedOf(minute: EndpointMinute, told: ReadonlySet<string> = nobody): Unexplained {
  const { failing } = minute;
  if (!failing) return { attempts: 0, share: 0 };
  const { perAddress, perAccount } = triersOf(failing);
  let known = 0;
  let unexplained = 0;
  for (const [ip, trier] of perAddress) {
    const share = unexplainedShare(minute, ip, trier, told);
    if (share === undefined) continue;
    known += trier.attempts;
    unexplained += trier.attempts * share;
  }
  let oneAccount = 0;
  for (const attempts of perAccount.values()) if (attempts >= MANY_ATTEMPTS) oneAccount += attempts;
  const other = 1 - oneAccount / failing.attempts.size;

  const share = known === 0 ? 1 : unexplained / known;
  const isExact = known === failing.attempts.size && failing.attempts.completeTo === Infinity;
  const cautious = isExact ? share : lowerEnd(share, known);
  return {
    attempts: Math.round(failing.attempts.distinct() * cautious * other),
    share: share * other,
  };
}

/**
 * The same for those of the attempts kept that are asked about, each judged by itself: estimate of how many of them nothing
 * harmless explains. An attempt of which it is known whether its address got in stands for those of which it is not.
 */
export function unexplainedAmong(
  minute: EndpointMinute,
  told: ReadonlySet<string>,
  isAsked: IsAsked,
): number {
  const { failing, succeeded } = minute;
  if (!failing) return 0;
  const { perAddress, perAccount } = triersOf(failing);
  const standsFor = 1 / (succeeded?.rate ?? 1);
  let unexplained = 0;
  for (const [pair, { hash, value }] of failing.attempts.entries()) {
    const { ip, account } = value;
    if (!isAsked(pair, hash) || (perAccount.get(account) ?? 0) >= MANY_ATTEMPTS) continue;
    const trier = perAddress.get(ip)!;
    const share = unexplainedShare(minute, ip, trier, told) ?? 0;
    unexplained += share * (isSelfEvident(ip, trier) ? 1 : standsFor);
  }
  return unexplained;
}

/** Attempts, failures, and attempts on users or on nobody in particular, of one address. */
interface Trier {
  attempts: number;
  failures: number;
  users: number;
}

/** Who tried, and how many attempts there were on each account. */
function triersOf(failing: Failing): { perAddress: Map<string, Trier>; perAccount: Map<string, number> } {
  const perAddress = new Map<string, Trier>();
  const perAccount = new Map<string, number>();
  for (const [, { value }] of failing.attempts.entries()) {
    const trier = perAddress.get(value.ip) ?? { attempts: 0, failures: 0, users: 0 };
    perAddress.set(value.ip, {
      attempts: trier.attempts + 1,
      failures: trier.failures + value.failures,
      users: trier.users + (value.account.startsWith(USER_TOKEN) || value.account === '' ? 1 : 0),
    });
    if (value.account !== '') perAccount.set(value.account, (perAccount.get(value.account) ?? 0) + 1);
  }
  return { perAddress, perAccount };
}

/** Share of the attempts of one address that nothing harmless explains; undefined if it is not known whether it got in. */
function unexplainedShare(
  { failing, succeeded }: EndpointMinute,
  ip: string,
  trier: Trier,
  told: ReadonlySet<string>,
): number | undefined {
  const { attempts, failures, users } = trier;
  if (told.has(ip) || (attempts >= MANY_ATTEMPTS && users === 0)) return 0;
  if (!isSelfEvident(ip, trier) && sampleHash(ip) > (succeeded?.completeTo ?? Infinity)) return undefined;
  const explained = (succeeded?.get(ip)?.calls ?? 0) * TRIES_PER_SUCCESS;
  const failed = failing?.sources.get(ip)?.failures ?? failures;
  return Math.max(0, 1 - explained / failed);
}

/** Is it judged without regard to whether the sample would tell that the address got in? */
function isSelfEvident(ip: string, { attempts }: Trier): boolean {
  return attempts >= MANY_ATTEMPTS || ip === '';
}

function lowerEnd(share: number, seen: number): number {
  if (seen === 0) return 0;
  const z = 2;
  const spread = z * Math.sqrt((share * (1 - share)) / seen + (z * z) / (4 * seen * seen));
  return Math.max(0, (share + (z * z) / (2 * seen) - spread) / (1 + (z * z) / seen));
}

/** Addresses that failed more often than mistyping explains, and got in all the same; and as whom, as far as the calls tell. */
export function openedSources(minute: EndpointMinute): { ip: string; accounts: string[] }[] {
  const { failing, succeeded } = minute;
  if (!failing || !succeeded) return [];
  return succeeded
    .sorted()
    .filter(([ip, { value }]) => (failing.sources.get(ip)?.failures ?? 0) > TRIES_PER_SUCCESS * value.calls)
    .map(([ip, { value }]) => ({ ip, accounts: [...value.names] }));
}

export type EncodedMinute = [
  calls: number,
  successes: number,
  failures: number,
  serverErrors: number,
  succeeded: [ip: string, calls: number, ...names: string[]][],
  failing?: EncodedFailing | 0,
  walked?: EncodedWalked | 0,
  tried?: EncodedTried | 0,
  reports?: Alert[] | 0,
  callers?: EncodedCallers,
];
type EncodedFailing = [
  newestAt: number,
  byKong: number,
  attempts: [ip: string, account: string, failures: number][],
  sources: [ip: string, failures: number, country: string | null, asn: number | null][],
  accounts: [token: string, failures: number][],
  calls: [id: string, ip: string, userAgent: string, country: string | null, asn: number | null][],
];

/** As JSON; equal minutes give equal JSON. */
export function encodeMinute(minute: EndpointMinute): EncodedMinute {
  const { calls, successes, failures, serverErrors, failing, succeeded, walked } = minute;
  const { tried, reports, callers } = minute;
  const sources: EncodedMinute[4] = [];
  for (const [ip, { value }] of succeeded?.sorted() ?? []) sources.push([ip, value.calls, ...value.names]);
  const encoded: EncodedMinute = [calls, successes, failures, serverErrors, sources];
  if (failing ?? walked ?? tried ?? reports ?? callers) encoded.push(failing ? encodeFailing(failing) : 0);
  if (walked ?? tried ?? reports ?? callers) encoded.push(walked ? encodeWalked(walked) : 0);
  if (tried ?? reports ?? callers) encoded.push(tried ? encodeTried(tried) : 0);
  if (reports ?? callers)
    encoded.push(reports ? [...reports.values()].sort((a, b) => (a.id < b.id ? -1 : 1)) : 0);
  if (callers) encoded.push(encodeCallers(callers));
  return encoded;
}

function encodeFailing(failing: Failing): EncodedFailing {
  return [
    failing.newestAt,
    failing.byKong,
    failing.attempts.sorted().map(([, { value }]) => [value.ip, value.account, value.failures]),
    failing.sources.sorted().map(([ip, { value }]) => [ip, value.failures, value.country, value.asn]),
    failing.accounts.sorted().map(([account, { value }]) => [account, value.failures]),
    failing.calls
      .sorted()
      .map(([id, { value }]) => [id, value.ip, value.userAgent, value.country, value.asn]),
  ];
}

export function decodeMinute(encoded: EncodedMinute): EndpointMinute {
  const [calls, successes, failures, serverErrors, sources, failing, walked, tried, reports, callers] =
    encoded;
  const minute: EndpointMinute = {
    calls,
    successes,
    failures,
    serverErrors,
    failing: failing ? decodeFailing(failing) : null,
    succeeded: null,
    walked: walked ? decodeWalked(walked) : null,
    tried: tried ? decodeTried(tried) : null,
    reports: reports ? new Map(reports.map((alert) => [alert.id, alert])) : null,
    callers: callers ? decodeCallers(callers) : null,
  };
  if (sources.length > 0) {
    minute.succeeded = new Sample(SUCCEEDED_KEPT);
    for (const [ip, count, ...names] of sources)
      minute.succeeded.pick(ip, sampleHash(ip), () => ({ calls: count, names }));
  }
  return minute;
}

function decodeFailing(encoded: EncodedFailing): Failing {
  const [newestAt, byKong, attempts, sources, accounts, calls] = encoded;
  const failing: Failing = { ...newFailing(), newestAt, byKong };
  for (const [ip, account, count] of attempts) {
    const pair = attemptKey(ip, account);
    failing.attempts.pick(pair, sampleHash(pair), () => ({ ip, account, failures: count }));
  }
  for (const [ip, failures, country, asn] of sources)
    failing.sources.pick(ip, sampleHash(ip), () => ({ failures, country, asn }));
  for (const [account, failures] of accounts)
    failing.accounts.pick(account, sampleHash(account), () => ({ failures }));
  for (const [id, ip, userAgent, country, asn] of calls)
    failing.calls.pick(id, sampleHash(id), () => ({ ip, userAgent, country, asn }));
  return failing;
}
