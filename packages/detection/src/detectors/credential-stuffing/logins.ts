import { sourceOf, type ApiCall } from '@tripline/model';
import type { Origin } from '../../across-actors/origin.ts';
import { isAuthFailure, isAuthSuccess } from '../../auth-outcome.ts';
import { Sample, sampleHash } from '../../sketches/sample.ts';
import { shorten } from '../../sketches/shorten.ts';
import {
  ATTEMPTS_KEPT,
  FAILED_CALLS_KEPT,
  NAMES_KEPT,
  SOURCES_KEPT,
  SUCCEEDED_KEPT,
  USER_AGENT_LENGTH_MOST,
} from './limits.ts';
import { addTry, mergeTried, type Tried } from './tries.ts';

/**
 * The logins of one endpoint within a minute, or within several: how they ended, and who tried. An `ip` is a source address
 * everywhere here, of IPv6 its /64 (see `sourceOf`); empty where the call has none.
 */
export interface Logins extends LoginOutcomes {
  /** Which accounts were tried, and from where. */
  tried: Tried | null;
}

export interface LoginOutcomes {
  successes: number;
  failures: number;
  /** Status 5xx or 499: neither a success nor a failure. */
  serverErrors: number;
  failing: FailedLogins | null;
  /** Addresses whose calls succeeded. */
  succeeded: Sample<SucceededSource> | null;
}

/** What the failed calls of an endpoint have in common. */
export interface FailedLogins {
  /** Event time of the newest, ms. */
  newestAt: number;
  /** Calls that Kong itself refused; the others were refused by the upstream. */
  byKong: number;
  /** Distinct pairs of address and account by `attemptKey`: a client that repeats itself is one attempt. */
  attempts: Sample<Attempt>;
  /** By address. */
  sources: Sample<FailingSource>;
  /** By the token of the user, else of the credential, that was presented. */
  accounts: Sample<{ failures: number }>;
  /** By call id: shares of networks and clients are taken from this fair sample. */
  calls: Sample<FailedCall>;
}

/** A pair of address and account that failed; either is empty where the calls do not show it. */
export interface Attempt {
  ip: string;
  account: string;
  failures: number;
}

export interface FailingSource extends Origin {
  failures: number;
}

export interface FailedCall extends Origin {
  ip: string;
  userAgent: string;
}

export interface SucceededSource {
  calls: number;
  /** As whom: at most NAMES_KEPT, the first in order of their characters. */
  names: string[];
}

export function newOutcomes(): LoginOutcomes {
  return { successes: 0, failures: 0, serverErrors: 0, failing: null, succeeded: null };
}

export function newLogins(): Logins {
  return { ...newOutcomes(), tried: null };
}

/** Adds a call. Challenges and calls that are neither a login nor a server error leave the logins as they are. */
export function addLogin(logins: Logins | undefined, call: ApiCall): Logins | undefined {
  if (isAuthSuccess(call)) {
    logins ??= newLogins();
    logins.successes++;
    const source = sourceOf(call);
    if (source !== undefined) addSuccess((logins.succeeded ??= new Sample(SUCCEEDED_KEPT)), call, source);
    logins.tried = addTry(logins.tried, call, true);
  } else if (isAuthFailure(call)) {
    logins ??= newLogins();
    logins.failures++;
    addFailure((logins.failing ??= newFailedLogins()), call);
    logins.tried = addTry(logins.tried, call, false);
  } else if (call.auth !== 'challenge' && isServerError(call)) {
    logins ??= newLogins();
    logins.serverErrors++;
  }
  return logins;
}

function isServerError({ status }: ApiCall): boolean {
  return status >= 500 || status === 499;
}

export function newFailedLogins(): FailedLogins {
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

function addSuccess(succeeded: Sample<SucceededSource>, call: ApiCall, ip: string): void {
  const hash = sampleHash(ip);
  if (!succeeded.takes(hash)) return;
  const source = succeeded.pick(ip, hash, noCalls);
  if (!source) return;
  source.calls++;
  const name = call.consumerId === undefined ? (call.user ?? call.credential) : call.actorName;
  if (name !== undefined) addName(source.names, name);
}

/** Keeps the first NAMES_KEPT in order of their characters. */
export function addName(names: string[], name: string): void {
  if (names.includes(name)) return;
  if (names.length >= NAMES_KEPT && name > names.at(-1)!) return;
  names.push(name);
  names.sort();
  if (names.length > NAMES_KEPT) names.pop();
}

/** Key of an attempt in `FailedLogins.attempts`. */
export function attemptKey(ip: string, account: string): string {
  return `${ip} ${account}`;
}

function addFailure(failing: FailedLogins, call: ApiCall): void {
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
    userAgent: shorten(call.userAgent ?? '', USER_AGENT_LENGTH_MOST),
    country,
    asn,
  }));
}

export function mergeLogins(logins: Logins, other: Logins): void {
  mergeOutcomes(logins, other);
  logins.tried = mergeTried(logins.tried, other.tried);
}

/** Adds `other` to `outcomes`; `other` stays as it is. */
export function mergeOutcomes(outcomes: LoginOutcomes, other: LoginOutcomes): void {
  outcomes.successes += other.successes;
  outcomes.failures += other.failures;
  outcomes.serverErrors += other.serverErrors;
  if (other.failing) mergeFailing((outcomes.failing ??= newFailedLogins()), other.failing);
  if (!other.succeeded) return;
  const succeeded = (outcomes.succeeded ??= new Sample(SUCCEEDED_KEPT));
  for (const [ip, { hash, value }] of other.succeeded.entries()) {
    const source = succeeded.pick(ip, hash, noCalls);
    if (!source) continue;
    source.calls += value.calls;
    for (const name of value.names) addName(source.names, name);
  }
}

function mergeFailing(failing: FailedLogins, other: FailedLogins): void {
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

/** Where the databases of two collectors disagree, the choice is the same in whatever order the calls come. */
function locate(source: FailingSource, country: string | null, asn: number | null): void {
  source.country = greater(source.country, country);
  source.asn = greater(source.asn, asn);
}

function greater<T extends string | number>(a: T | null, b: T | null): T | null {
  if (a === null || b === null) return a ?? b;
  return a > b ? a : b;
}
