import type { Origin } from '../../across-actors/origin.ts';
import { DAY_MS, HOUR_MS } from '../../baseline/limits.ts';
import type { Tolerance } from '../../baseline/sensitivity.ts';
import { sampleHash } from '../../sketches/sample.ts';
import {
  ACCOUNT_DAYS_MOST,
  ACCOUNTS_JUDGED_LEAST,
  ACCOUNTS_KEPT,
  FEATURES_KEPT,
  OPENED_MOST,
  RARE_SHARE,
  STRANGERS_DAYS_LEARNT,
  STRANGERS_HALF_LIFE_DAYS,
  STRANGERS_KEPT,
  STRANGERS_PER_DAY_LEAST,
  STRANGERS_PER_HOUR_LEAST,
  STRANGERS_TIMES,
} from './limits.ts';
import { attemptKey } from './logins.ts';
import type { Tried, Try } from './tries.ts';
import type { AttemptFilter } from './unexplained.ts';

/** Hashes of accounts lie between 0 and this: the upper bits of their `sampleHash`. */
const HASH_RANGE = 2 ** 32;
const SAMPLE_BITS = 2 ** 21;

/** Countries, networks and clients from which an account logged in, as hashes of 16 bits; the one used last is the last. */
export interface Account {
  features: number[];
  /** Day of the latest accepted login, since the epoch. */
  day: number;
  /** It was accepted on an earlier day, too: from here on its usual origins are known. */
  settled: boolean;
}

/** A try of an account by a stranger: from an origin that the account never came from. */
export interface Stranger extends Origin {
  account: string;
  /** Start of the minute of the try, ms. */
  atMs: number;
  ip: string;
  callId: string;
  /** The account was opened by a stranger, by this try or an earlier one. */
  opened: boolean;
}

/**
 * From where the accounts of one endpoint log in. The accounts with the smallest hashes are kept, all of them up to ACCOUNTS_KEPT;
 * what is counted of these stands for all.
 */
export interface AccountMemory {
  /** By hash. */
  accounts: Map<number, Account>;
  /** Accounts with larger hashes are skipped. */
  limit: number;
  /** How many accounts have a feature. Follows from `accounts`. */
  having: Map<number, number>;
  /** By the hash of the account, the latest of each: of the last 24 hours and of the episode, at most the newest STRANGERS_KEPT. */
  strangers: Map<number, Stranger>;
  /** Day and hour under way, since the epoch; -1 before the first minute. */
  day: number;
  hour: number;
  /** Days learnt, and the most strangers per hour and per day so far, which fade. */
  days: number;
  mostPerHour: number;
  mostPerDay: number;
  /** Accounts opened by strangers during the episode, with the address. */
  opened: Map<string, string>;
}

export function newAccountMemory(): AccountMemory {
  return {
    accounts: new Map(),
    limit: HASH_RANGE,
    having: new Map(),
    strangers: new Map(),
    day: -1,
    hour: -1,
    days: 0,
    mostPerHour: 0,
    mostPerDay: 0,
    opened: new Map(),
  };
}

/** How many accounts were tried by strangers within the hour, or the day, up to now, how many are allowed, and how many are usual. */
export interface StrangersExcess {
  span: 'hour' | 'day';
  startsAt: number;
  value: number;
  high: number;
  expected: number;
  daysLearnt: number;
}

/**
 * Share of the refused tries of the minute that were made by the owners of the accounts: from where a known account usually comes.
 * Only tries that pass the filter count.
 */
export function ownersShare(memory: AccountMemory, tried: Tried, passes: AttemptFilter = () => true): number {
  let owners = 0;
  let refused = 0;
  for (const [account, { hash, value }] of tried.entries()) {
    const key = Math.floor(hash / SAMPLE_BITS);
    if (key > memory.limit) continue;
    const known = memory.accounts.get(key);
    for (const one of value.values()) {
      if (one.accepted || isAccepted(value, one.ip)) continue;
      const pair = attemptKey(one.ip, account);
      if (!passes(pair, sampleHash(pair))) continue;
      refused++;
      if (known?.settled === true && hasPlace(known, one)) owners++;
    }
  }
  return refused === 0 ? 0 : owners / refused;
}

/**
 * Judges the tries of the minute that begins at `atMs` and learns from them. Under alert, tries of strangers are not learnt, and
 * the accounts that they opened are kept. Returns the number of tries by strangers, and how many of those were accepted.
 */
export function judgeTries(
  memory: AccountMemory,
  tried: Tried,
  atMs: number,
  isUnderAlert: boolean,
): { strangers: number; accepted: number } {
  const seen = { strangers: 0, accepted: 0 };
  for (const [account, { hash, value }] of tried.entries()) {
    const key = Math.floor(hash / SAMPLE_BITS);
    if (key > memory.limit) continue;
    for (const one of value.values()) {
      // Who mistypes gets in a moment later from the same address.
      if (!one.accepted && isAccepted(value, one.ip)) continue;
      if (!isByStranger(memory, key, account, one, atMs, isUnderAlert)) continue;
      seen.strangers++;
      if (one.accepted) seen.accepted++;
    }
  }
  return seen;
}

function isAccepted(tries: ReadonlyMap<string, Try>, ip: string): boolean {
  for (const one of tries.values()) if (one.accepted && one.ip === ip) return true;
  return false;
}

/** Judges one try and learns from it. */
function isByStranger(
  memory: AccountMemory,
  key: number,
  account: string,
  one: Try,
  atMs: number,
  isUnderAlert: boolean,
): boolean {
  const day = Math.floor(atMs / DAY_MS);
  const known = memory.accounts.get(key);
  if (known && day > known.day) known.settled = true;
  const isSettled = known?.settled === true;
  const isStrange = isSettled ? !hasPlace(known, one) : isRare(memory, one);
  // A new user from a new country is nothing strange, unless something is going on.
  const counts = isStrange && (isSettled || !one.accepted || isUnderAlert);
  if (counts) {
    const before = memory.strangers.get(key);
    const { ip, country, asn, callId } = one;
    const opened = one.accepted || before?.opened === true;
    memory.strangers.delete(key);
    memory.strangers.set(key, { account, atMs, ip, country, asn, callId, opened });
    if (memory.strangers.size > STRANGERS_KEPT) {
      const [oldest] = memory.strangers.keys();
      memory.strangers.delete(oldest!);
    }
    if (opened && isUnderAlert) addOpened(memory, account, ip);
  }
  if (one.accepted && !(isStrange && isUnderAlert)) learn(memory, key, one, day);
  return counts;
}

/** Keeps an account that an address opened during the episode, as long as there is room. */
export function addOpened(memory: AccountMemory, account: string, ip: string): void {
  if (memory.opened.size < OPENED_MOST && !memory.opened.has(account)) memory.opened.set(account, ip);
}

/** An episode begins: the accounts that were opened from `sinceMs` on belong to it. */
export function beginOpened(memory: AccountMemory, sinceMs: number): void {
  memory.opened.clear();
  for (const { account, atMs, ip, opened } of memory.strangers.values())
    if (opened && atMs >= sinceMs) addOpened(memory, account, ip);
}

/**
 * Whether the account comes from a known country with a known network or client: phones change networks, and homes their browsers,
 * but not both at once.
 */
function hasPlace({ features }: Account, { country, asn, client }: Try): boolean {
  if (country !== null && !features.includes(countryFeature(country))) return false;
  if (asn === null) return true;
  return features.includes(networkFeature(asn)) || features.includes(clientFeature(client));
}

/** Whether a try of an unknown account comes from an origin that few other accounts have. */
function isRare(memory: AccountMemory, { country, asn, client }: Try): boolean {
  if (memory.accounts.size < ACCOUNTS_JUDGED_LEAST) return false;
  const least = RARE_SHARE * memory.accounts.size;
  const isFew = (feature: number): boolean => (memory.having.get(feature) ?? 0) < least;
  if (country !== null && isFew(countryFeature(country))) return true;
  return asn !== null && isFew(networkFeature(asn)) && isFew(clientFeature(client));
}

/** Share of the known accounts that came from there before; null while too few are known. */
export function usualShare(memory: AccountMemory, of: { country: string } | { asn: number }): number | null {
  if (memory.accounts.size < ACCOUNTS_JUDGED_LEAST) return null;
  const one = 'country' in of ? countryFeature(of.country) : networkFeature(of.asn);
  return Math.round(((memory.having.get(one) ?? 0) / memory.accounts.size) * 100) / 100;
}

const countryFeature = (country: string): number => feature(`c${country}`);
const networkFeature = (asn: number): number => feature(`n${asn}`);
const clientFeature = (client: number): number => feature(`u${client}`);

function feature(text: string): number {
  return sampleHash(text) % 65_536;
}

function learn(memory: AccountMemory, key: number, { country, asn, client }: Try, day: number): void {
  let account = memory.accounts.get(key);
  if (!account) {
    account = { features: [], day, settled: false };
    memory.accounts.set(key, account);
    if (memory.accounts.size > ACCOUNTS_KEPT) {
      forgetLargest(memory);
      if (key > memory.limit) return;
    }
  }
  account.day = day;
  if (country !== null) addFeature(memory, account, countryFeature(country));
  if (asn !== null) addFeature(memory, account, networkFeature(asn));
  addFeature(memory, account, clientFeature(client));
}

/** Makes a feature the account's latest one; the one that was used longest ago makes room. */
export function addFeature(memory: AccountMemory, account: Account, one: number): void {
  const { features } = account;
  const at = features.indexOf(one);
  if (at === features.length - 1 && at >= 0) return;
  if (at >= 0) features.splice(at, 1);
  else memory.having.set(one, (memory.having.get(one) ?? 0) + 1);
  features.push(one);
  if (features.length > FEATURES_KEPT) removeFeature(memory, features.shift()!);
}

function removeFeature(memory: AccountMemory, one: number): void {
  const left = memory.having.get(one)! - 1;
  if (left > 0) memory.having.set(one, left);
  else memory.having.delete(one);
}

function forget(memory: AccountMemory, key: number): void {
  for (const one of memory.accounts.get(key)!.features) removeFeature(memory, one);
  memory.accounts.delete(key);
}

/** Forgets an eighth of the accounts at once, because finding the largest takes a pass over all. */
function forgetLargest(memory: AccountMemory): void {
  const keys = [...memory.accounts.keys()].sort((a, b) => a - b);
  memory.limit = keys[Math.floor((ACCOUNTS_KEPT * 7) / 8)]!;
  for (const key of keys) if (key > memory.limit) forget(memory, key);
  for (const key of memory.strangers.keys()) if (key > memory.limit) memory.strangers.delete(key);
}

/**
 * Whether more accounts than ever were tried by strangers within the hour, or the day, up to `untilMs`: the span that exceeds what is
 * allowed by the largest factor; undefined if none does.
 */
export function strangersExcess(
  memory: AccountMemory,
  untilMs: number,
  tolerance: Tolerance,
): StrangersExcess | undefined {
  if (memory.days < STRANGERS_DAYS_LEARNT || memory.accounts.size < ACCOUNTS_JUDGED_LEAST) return undefined;
  const excessOf = (span: 'hour' | 'day', spanMs: number, least: number, most: number): StrangersExcess => {
    const startsAt = untilMs - spanMs;
    const high = Math.max(tolerance.count(least), Math.ceil(tolerance.factor(STRANGERS_TIMES) * most));
    const value = strangersWithin(memory, startsAt);
    return { span, startsAt, value, high, expected: most, daysLearnt: memory.days };
  };
  const hour = excessOf('hour', HOUR_MS, STRANGERS_PER_HOUR_LEAST, memory.mostPerHour);
  const day = excessOf('day', DAY_MS, STRANGERS_PER_DAY_LEAST, memory.mostPerDay);
  const worst = day.value / day.high > hour.value / hour.high ? day : hour;
  return worst.value > worst.high ? worst : undefined;
}

/**
 * Accounts tried by strangers since `sinceMs`, or their addresses if these are fewer: many accounts at few addresses are an office
 * that moved, or a network that all of them use. An estimate where not all accounts are kept.
 */
function strangersWithin(memory: AccountMemory, sinceMs: number): number {
  let accounts = 0;
  const addresses = new Set<string>();
  for (const { atMs, ip } of memory.strangers.values()) {
    if (atMs < sinceMs) continue;
    accounts++;
    addresses.add(ip);
  }
  return Math.round((Math.min(accounts, addresses.size) * HASH_RANGE) / memory.limit);
}

/** Moves on to event time `atMs`: learns the hours and days that are over, unless they were under alert. */
export function advanceAccounts(memory: AccountMemory, atMs: number, isUnderAlert: boolean): void {
  const hour = Math.floor(atMs / HOUR_MS);
  if (hour === memory.hour) return;
  if (memory.hour >= 0 && !isUnderAlert)
    memory.mostPerHour = Math.max(memory.mostPerHour, strangersWithin(memory, memory.hour * HOUR_MS));
  memory.hour = hour;
  const day = Math.floor(atMs / DAY_MS);
  if (day !== memory.day) {
    if (memory.day >= 0 && !isUnderAlert) {
      const fading = 0.5 ** ((day - memory.day) / STRANGERS_HALF_LIFE_DAYS);
      memory.mostPerHour = round(memory.mostPerHour * fading);
      memory.mostPerDay = Math.max(
        round(memory.mostPerDay * fading),
        strangersWithin(memory, memory.day * DAY_MS),
      );
      // The first day counts from somewhere within it on.
      if (memory.accounts.size >= ACCOUNTS_JUDGED_LEAST) memory.days++;
    }
    memory.day = day;
    for (const [key, account] of memory.accounts)
      if (account.day < day - ACCOUNT_DAYS_MOST) forget(memory, key);
  }
  // Those of an episode are its evidence until it closes.
  if (isUnderAlert) return;
  for (const [key, stranger] of memory.strangers)
    if (stranger.atMs < atMs - DAY_MS) memory.strangers.delete(key);
}

const round = (value: number): number => Math.round(value * 100) / 100;
