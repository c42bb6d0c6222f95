import { isPrivateAddress, type ApiCall } from '@tripline/model';
import { DAY_MS } from '../baseline/limits.ts';
import type { ByteReader } from '../codec/byte-reader.ts';
import type { ByteWriter } from '../codec/byte-writer.ts';
import { clientFamily, finishHash } from './client-family.ts';

/** So many kinds of client (user agents without their version numbers) behind one private address are many people. */
const FAMILIES = 8;
/** So are so many clients with different cookies that each call again after another one did: one person has a few browsers. */
const CLIENTS = 16;
/** Clients that are remembered to see them come again: a browser that changes a cookie with each call never does. */
const RECENT_MOST = 16;
const WEEK_MS = 7 * DAY_MS;

/** How many different clients call from one private address. */
export interface SharedAddress {
  /** Since the epoch. */
  week: number;
  /** Which of 32 lots the kinds of client have drawn this week, … */
  families: number;
  /** … and which of 64 the clients that came again. */
  clients: [number, number];
  /** Hashes of clients with their cookies, the last one at the end. */
  recent: number[];
  /** As it was found the week before. */
  wasShared: boolean;
}

export const newSharedAddress = (): SharedAddress => ({
  week: 0,
  families: 0,
  clients: [0, 0],
  recent: [],
  wasShared: false,
});

/**
 * Takes note of a call of an address; true if the address is a load balancer's, a node's or a proxy's that Kong shows for many
 * clients, which no detector can judge as if it were one. That is so of a private address with many different clients within
 * this week or the one before, and of calls whose address the lines do not tell. A public address is never shared, whatever it
 * sends: else anybody could have himself left out with a few made-up user agents.
 */
export function isSharedAddress(state: SharedAddress, call: ApiCall): boolean {
  const { ip, userAgent = '', cookies, startedAt } = call;
  if (ip === undefined) return true;
  if (!isPrivateAddress(ip)) return false;
  const week = Math.floor(startedAt / WEEK_MS);
  if (week > state.week) {
    const wasShared = week === state.week + 1 && hasManyClients(state);
    Object.assign(state, { week, families: 0, clients: [0, 0], wasShared });
  }
  const family = clientFamily(userAgent);
  state.families |= 1 << (family & 31);
  let client = family;
  for (const name in cookies)
    for (const text of [name, cookies[name]!])
      for (let at = 0; at < text.length; at++) client = Math.imul(client ^ text.charCodeAt(at), 0x0100_0193);
  noteClient(state, finishHash(client));
  return state.wasShared || hasManyClients(state);
}

function noteClient({ clients, recent }: SharedAddress, client: number): void {
  const at = recent.lastIndexOf(client);
  if (at >= 0 && at === recent.length - 1) return;
  if (at >= 0) {
    recent.splice(at, 1);
    const lot = client & 63;
    clients[lot >> 5]! |= 1 << (lot & 31);
  } else if (recent.length >= RECENT_MOST) recent.shift();
  recent.push(client);
}

function hasManyClients({ families, clients: [low, high] }: SharedAddress): boolean {
  return bitsOf(families) >= FAMILIES || bitsOf(low) + bitsOf(high) >= CLIENTS;
}

function bitsOf(bits: number): number {
  let count = 0;
  for (let rest = bits; rest !== 0; rest &= rest - 1) count++;
  return count;
}

/** At most 80 bytes. */
export function encodeSharedAddress(state: SharedAddress, writer: ByteWriter): void {
  const { week, families, clients, recent, wasShared } = state;
  writer.uint(week);
  writer.boolean(wasShared);
  writer.hash32(families >>> 0);
  writer.hash32(clients[0] >>> 0);
  writer.hash32(clients[1] >>> 0);
  writer.hashes24(recent);
}

export function decodeSharedAddress(reader: ByteReader): SharedAddress {
  return {
    week: reader.uint(),
    wasShared: reader.boolean(),
    families: reader.hash32() | 0,
    clients: [reader.hash32() | 0, reader.hash32() | 0],
    recent: reader.hashes24(),
  };
}
