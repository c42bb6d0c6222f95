import type { ApiCall } from '@tripline/model';
import { describe, expect, it } from 'vitest';
import { DAY_MS, HOUR_MS } from '../../baseline/limits.ts';
import { ByteReader } from '../../codec/byte-reader.ts';
import { ByteWriter } from '../../codec/byte-writer.ts';
import { toleranceOf } from '../../baseline/sensitivity.ts';
import {
  advanceAccounts,
  beginOpened,
  judgeTries,
  newAccountMemory,
  ownersShare,
  strangersExcess,
  type AccountMemory,
} from './accounts.ts';
import { readAccounts, writeAccounts } from './accounts-codec.ts';
import { ACCOUNTS_KEPT } from './limits.ts';
import { addTry, type Tried } from './tries.ts';

const beganMs = Date.parse('2026-03-02T00:00:00Z');
const normal = toleranceOf('normal');

interface Login {
  account: number;
  ip: string;
  country?: string;
  asn?: number;
  agent?: string;
  status?: number;
}

function triedOf(logins: readonly Login[]): Tried {
  let tried: Tried | null = null;
  for (const { account, ip, country = 'NO', asn = 1, agent = 'browser/1.0', status = 200 } of logins) {
    const call = {
      id: `${account} ${ip}`,
      ip,
      country,
      asn,
      userAgent: agent,
      user: `~user~${account}`,
    } as ApiCall;
    tried = addTry(tried, call, status === 200);
  }
  return tried!;
}

const home = (account: number): Login => ({ account, ip: `10.0.${account >> 8}.${account & 255}` });
const abroad = (account: number): Login => ({
  account,
  ip: `172.16.${account >> 8}.${account & 255}`,
  country: 'VN',
});

/** All of them log in from home once a day, a few a minute. */
function daysOfHome(accounts: number, days: number): AccountMemory {
  const memory = newAccountMemory();
  for (let day = 0; day < days; day++)
    for (let from = 0; from < accounts; from += 40) {
      const atMs = beganMs + day * DAY_MS + 8 * HOUR_MS + from * 1_000;
      advanceAccounts(memory, atMs, false);
      judgeTries(
        memory,
        triedOf(Array.from({ length: Math.min(40, accounts - from) }, (_, n) => home(from + n))),
        atMs,
        false,
      );
    }
  advanceAccounts(memory, beganMs + days * DAY_MS, false);
  return memory;
}

function bytesOf(memory: AccountMemory): Buffer {
  const writer = new ByteWriter();
  writeAccounts(writer, memory);
  return writer.take();
}

const laterMs = beganMs + 5 * DAY_MS + 9 * HOUR_MS;

describe('the memory of accounts', () => {
  it('tells many accounts that are tried from elsewhere, with those that were opened', () => {
    const memory = daysOfHome(100, 5);
    const tried = triedOf(
      Array.from({ length: 30 }, (_, n) => ({ ...abroad(n), status: n < 3 ? 200 : 401 })),
    );
    expect(judgeTries(memory, tried, laterMs, false)).toEqual({ strangers: 30, accepted: 3 });
    expect(strangersExcess(memory, laterMs + 60_000, normal)).toMatchObject({
      span: 'hour',
      value: 30,
      high: 12,
    });
    beginOpened(memory, laterMs);
    expect([...memory.opened.keys()].sort()).toEqual(['~user~0', '~user~1', '~user~2']);
    expect(strangersExcess(memory, laterMs + DAY_MS + 60_000, normal)).toBeUndefined();
  });

  it('says nothing about owners: at home, on another network, or with another client', () => {
    const memory = daysOfHome(100, 5);
    const owners = Array.from({ length: 40 }, (_, n): Login => {
      const status = n % 4 === 3 ? 401 : 200;
      if (n % 3 === 0) return { ...home(n), status };
      if (n % 3 === 1) return { ...home(n), ip: `10.9.0.${n}`, asn: 7, status };
      return { ...home(n), agent: 'app', status };
    });
    const tried = triedOf(owners);
    expect(ownersShare(memory, tried)).toBe(1);
    expect(judgeTries(memory, tried, laterMs, false)).toEqual({ strangers: 0, accepted: 0 });
  });

  it('says nothing about many accounts at few addresses, nor about few accounts', () => {
    const memory = daysOfHome(100, 5);
    const office = Array.from({ length: 40 }, (_, n): Login => ({ ...abroad(n), ip: `172.16.0.${n % 3}` }));
    expect(judgeTries(memory, triedOf(office), laterMs, false).strangers).toBe(40);
    expect(strangersExcess(memory, laterMs + 60_000, normal)).toBeUndefined();
    const few = daysOfHome(100, 5);
    judgeTries(few, triedOf(Array.from({ length: 12 }, (_, n) => abroad(n))), laterMs, false);
    expect(strangersExcess(few, laterMs + 60_000, normal)).toBeUndefined();
  });

  it('does not judge before it knows enough days and accounts', () => {
    for (const memory of [daysOfHome(100, 2), daysOfHome(30, 5)]) {
      judgeTries(memory, triedOf(Array.from({ length: 30 }, (_, n) => abroad(n))), laterMs, false);
      expect(strangersExcess(memory, laterMs + 60_000, normal)).toBeUndefined();
    }
  });

  it('learns where an account comes from, but not under alert', () => {
    const once = triedOf([abroad(1)]);
    const again = triedOf([{ ...abroad(1), ip: '172.16.9.9' }]);
    const free = daysOfHome(100, 5);
    expect(judgeTries(free, once, laterMs, false).strangers).toBe(1);
    expect(judgeTries(free, again, laterMs + HOUR_MS, false).strangers).toBe(0);
    const underAlert = daysOfHome(100, 5);
    expect(judgeTries(underAlert, once, laterMs, true).strangers).toBe(1);
    expect(judgeTries(underAlert, again, laterMs + HOUR_MS, true).strangers).toBe(1);
  });

  it('says nothing of a new user from a country where nobody was, but of one who is refused there', () => {
    const memory = daysOfHome(100, 5);
    expect(judgeTries(memory, triedOf([abroad(900)]), laterMs, false).strangers).toBe(0);
    expect(judgeTries(memory, triedOf([{ ...abroad(901), status: 401 }]), laterMs, false).strangers).toBe(1);
  });

  it('takes more strangers when more are usual', () => {
    const memory = daysOfHome(400, 5);
    for (let day = 5; day < 9; day++) {
      const atMs = beganMs + day * DAY_MS + 9 * HOUR_MS;
      advanceAccounts(memory, atMs, false);
      judgeTries(memory, triedOf(Array.from({ length: 10 }, (_, n) => abroad(day * 10 + n))), atMs, false);
    }
    const atMs = beganMs + 9 * DAY_MS + 9 * HOUR_MS;
    advanceAccounts(memory, atMs, false);
    judgeTries(memory, triedOf(Array.from({ length: 24 }, (_, n) => abroad(200 + n))), atMs, false);
    expect(strangersExcess(memory, atMs + 60_000, normal)).toBeUndefined();
    judgeTries(memory, triedOf(Array.from({ length: 24 }, (_, n) => abroad(230 + n))), atMs, false);
    expect(strangersExcess(memory, atMs + 60_000, normal)).toMatchObject({ value: 48 });
  });

  it('keeps at most so many accounts, and estimates from them', () => {
    const memory = daysOfHome(20_000, 4);
    expect(memory.accounts.size).toBeLessThanOrEqual(ACCOUNTS_KEPT);
    expect(bytesOf(memory).length).toBeLessThan(25 * ACCOUNTS_KEPT);
    for (let from = 0; from < 400; from += 40)
      judgeTries(memory, triedOf(Array.from({ length: 40 }, (_, n) => abroad(from + n))), laterMs, false);
    const value = strangersExcess(memory, laterMs + 60_000, normal)!.value;
    expect(value).toBeGreaterThan(280);
    expect(value).toBeLessThan(520);
  });

  it('is the same after it went through its bytes', () => {
    const memory = daysOfHome(100, 5);
    judgeTries(memory, triedOf([abroad(1), { ...abroad(2), status: 401 }]), laterMs, false);
    beginOpened(memory, laterMs);
    const reader = new ByteReader(bytesOf(memory));
    expect(readAccounts(reader)).toEqual(memory);
    reader.expectEnd();
  });
});
