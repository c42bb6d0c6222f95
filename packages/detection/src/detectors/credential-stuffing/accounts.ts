import { DAY_MS, HOUR_MS } from '../../baseline/limits.ts';
import type { Tolerance } from '../../baseline/sensitivity.ts';
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
  STRANGERS_LEAST,
  STRANGERS_TIMES,
} from '../../across-actors/limits.ts';
import { attemptKey, type IsAsked } from '../../across-actors/endpoint-minute.ts';
import { sampleHash } from '../../sketches/sample.ts';
import type { Tried, Try } from './tries.ts';

/** Hashes of accounts lie between 0 and this: the upper bits of their `sampleHash`. */
const HASH_RANGE = 2 ** 32;
const SAMPLE_BITS = 2 ** 21;

/** Countries, networks and clients from which an account logged in, as hashes of 16 bits; the one used last is the last. */
interface Account {
  features: number[];
  /** Day of the latest accepted login. */
  day: number;
  /** It was accepted on an earlier day, too: from here on it is known from where it comes. */
  settled: boolean;
}

/** An account that was tried from where it never came from. */
export interface Stranger {
  account: string;
  atMs: number;
  ip: string;
  country: string | null;
  asn: number | null;
  callId: string;
  opened: boolean;
}

/**
 * From where the accounts of one endpoint log in. Kept are those with the smallest hashes, all of them up to ACCOUNTS_KEPT;
 * what is counted of these stands for all.
 */
export interface AccountMemory {
  /** By hash. */
  accounts: Map<number, Account>;
  /** Accounts with larger hashes are not looked at. */
  limit: number;
  /** How many accounts have a feature. Follows from `accounts`. */
  having: Map<number, number>;
  /** By the hash of the account, the latest of each: of the last 24 hours and of the episode, the newest STRANGERS_KEPT. */
  strangers: Map<number, Stranger>;
  day: number;
  hour: number;
  /** Days learnt, and the most strangers per hour and per day so far, fading. */
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

/** How many accounts were tried by strangers within `spanMs`, how many may be, and how many are usual. */
export interface StrangersExcess {
  spanMs: number;
  startsAt: number;
  value: number;
  high: number;
  expected: number;
  daysLearnt: number;
}

/**
 * Share of the refused tries of the minute that were of known accounts from where they usually come: their owners'. Of all, or of
 * the attempts that are asked about.
 */
export function ownersShare(memory: AccountMemory, tried: Tried, isAsked: IsAsked = () => true): number {
  let owners = 0;
  let refused = 0;
  for (const [account, { hash, value }] of tried.entries()) {
    const key = Math.floor(hash / SAMPLE_BITS);
    if (key > memory.limit) continue;
    const known = memory.accounts.get(key);
    for (const one of value.values()) {
      if (one.accepted || isAccepted(value, one.ip)) continue;
      const pair = attemptKey(one.ip, account);
      if (!isAsked(pair, sampleHash(pair))) continue;
      refused++;
      if (known?.settled === true && hasPlace(known, one)) owners++;
    }
  }
  return refused === 0 ? 0 : owners / refused;
}

/**
 * Looks at the tries of the minute that begins at `atMs`, and learns from them. `isUnderAlert`: what comes from elsewhere is
 * not learnt, and who it opened is kept. Gives how many tries were of strangers, and how many of those were accepted.
 */
export function lookAt(
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
      if (!look(memory, key, account, one, atMs, isUnderAlert)) continue;
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

function look(
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

/** Keeps who was opened by an address during the episode, as long as there is room. */
export function addOpened(memory: AccountMemory, account: string, ip: string): void {
  if (memory.opened.size < OPENED_MOST && !memory.opened.has(account)) memory.opened.set(account, ip);
}

/** An episode begins: whoever was opened from `sinceMs` on belongs to it. */
export function beginOpened(memory: AccountMemory, sinceMs: number): void {
  memory.opened.clear();
  for (const { account, atMs, ip, opened } of memory.strangers.values())
    if (opened && atMs >= sinceMs) addOpened(memory, account, ip);
}

/** A known country, and there a known network or client: phones change networks, and homes their browsers, not both at once. */
function hasPlace({ features }: Account, { country, asn, client }: Try): boolean {
  if (country !== null && !features.includes(countryFeature(country))) return false;
  if (asn === null) return true;
  return features.includes(networkFeature(asn)) || features.includes(clientFeature(client));
}

/** The same for an account of which nothing is known: by what the others have. */
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
  if (country !== null) use(memory, account, countryFeature(country));
  if (asn !== null) use(memory, account, networkFeature(asn));
  use(memory, account, clientFeature(client));
}

function use(memory: AccountMemory, account: Account, one: number): void {
  const { features } = account;
  const at = features.indexOf(one);
  if (at === features.length - 1 && at >= 0) return;
  if (at >= 0) features.splice(at, 1);
  else memory.having.set(one, (memory.having.get(one) ?? 0) + 1);
  features.push(one);
  if (features.length > FEATURES_KEPT) lose(memory, features.shift()!);
}

function lose(memory: AccountMemory, one: number): void {
  const left = memory.having.get(one)! - 1;
  if (left > 0) memory.having.set(one, left);
  else memory.having.delete(one);
}

function forget(memory: AccountMemory, key: number): void {
  for (const one of memory.accounts.get(key)!.features) lose(memory, one);
  memory.accounts.delete(key);
}

/** An eighth at once, as finding the largest takes a look at all. */
function forgetLargest(memory: AccountMemory): void {
  const keys = [...memory.accounts.keys()].sort((a, b) => a - b);
  memory.limit = keys[Math.floor((ACCOUNTS_KEPT * 7) / 8)]!;
  for (const key of keys) if (key > memory.limit) forget(memory, key);
  for (const key of memory.strangers.keys()) if (key > memory.limit) memory.strangers.delete(key);
}

/**
 * Are more accounts tried by strangers than ever, within the hour, or the day, up to `untilMs`? The one that exceeds most,
 * undefined if none does. Many accounts at few addresses are an office that moved, or a network that all of them use.
 */
export function strangersExcess(
  memory: AccountMemory,
  untilMs: number,
  tolerance: Tolerance,
): StrangersExcess | undefined {
  if (memory.days < STRANGERS_DAYS_LEARNT || memory.accounts.size < ACCOUNTS_JUDGED_LEAST) return undefined;
  let worst: StrangersExcess | undefined;
  for (const [at, spanMs] of [HOUR_MS, DAY_MS].entries()) {
    const most = at === 0 ? memory.mostPerHour : memory.mostPerDay;
    const startsAt = untilMs - spanMs;
    const value = strangersWithin(memory, startsAt);
    const high = Math.max(
      tolerance.count(STRANGERS_LEAST[at]!),
      Math.ceil(tolerance.factor(STRANGERS_TIMES) * most),
    );
    if (value > high && (!worst || value / high > worst.value / worst.high))
      worst = { spanMs, startsAt, value, high, expected: most, daysLearnt: memory.days };
  }
  return worst;
}

/** Accounts, or addresses if these are fewer, since `sinceMs`; estimated where not all accounts are kept. */
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

/** Time has come to `atMs`: learns the hours and days that are over, unless something was under alert in them. */
export function moveOn(memory: AccountMemory, atMs: number, isUnderAlert: boolean): void {
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
      // The first day begins somewhere in it.
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

export type EncodedAccounts = [
  limit: number,
  numbers: [day: number, hour: number, days: number, mostPerHour: number, mostPerDay: number],
  accounts: string,
  strangers: [
    key: number,
    account: string,
    atMs: number,
    ip: string,
    country: string | null,
    asn: number | null,
    callId: string,
    opened: 0 | 1,
  ][],
  opened: [account: string, ip: string][],
];

/** Thousands of accounts as one text of numbers to the base of 36: a third of what they take as JSON. */
export function encodeAccounts(memory: AccountMemory): EncodedAccounts {
  const { limit, day, hour, days, mostPerHour, mostPerDay } = memory;
  let accounts = '';
  for (const [key, account] of memory.accounts) {
    accounts += `${accounts === '' ? '' : ' '}${key.toString(36)}${account.settled ? '+' : '-'}${account.day.toString(36)}`;
    for (const one of account.features) accounts += `.${one.toString(36)}`;
  }
  return [
    limit,
    [day, hour, days, mostPerHour, mostPerDay],
    accounts,
    [...memory.strangers].map(([key, one]) => [
      key,
      one.account,
      one.atMs,
      one.ip,
      one.country,
      one.asn,
      one.callId,
      one.opened ? 1 : 0,
    ]),
    [...memory.opened],
  ];
}

export function decodeAccounts(encoded: EncodedAccounts): AccountMemory {
  const [limit, [day, hour, days, mostPerHour, mostPerDay], accounts, strangers, opened] = encoded;
  const memory: AccountMemory = {
    ...newAccountMemory(),
    limit,
    day,
    hour,
    days,
    mostPerHour,
    mostPerDay,
    opened: new Map(opened),
  };
  for (const text of accounts === '' ? [] : accounts.split(' ')) {
    const [head = '', ...features] = text.split('.');
    const settled = head.includes('+');
    const [key = '', usedDay = ''] = head.split(settled ? '+' : '-');
    const account: Account = { features: [], day: parseInt(usedDay, 36), settled };
    memory.accounts.set(parseInt(key, 36), account);
    for (const one of features) use(memory, account, parseInt(one, 36));
  }
  for (const [key, account, atMs, ip, country, asn, callId, isOpened] of strangers)
    memory.strangers.set(key, { account, atMs, ip, country, asn, callId, opened: isOpened === 1 });
  return memory;
}
