import { isPrivateAddress, type ApiCall } from '@tripline/model';
import { DAY_MS } from '../constants.ts';
import { fromNumerals, toNumerals } from '../digits.ts';
import { clientFamily, finishHash } from './client-family.ts';

/**
 * So many kinds of client (user agents without their version numbers) behind one private address are many people: nobody uses
 * eight …
 */
const FAMILIES = 8;
/** … nor three of them with so many different cookies: a browser changes some of its own with each call. */
const FAMILIES_WITH_COOKIES = 3;
const CLIENTS = 12;
const WEEK_MS = 7 * DAY_MS;

/** How many different clients call from one private address. */
export interface SharedAddress {
  /** Since the epoch. */
  week: number;
  /** Which of 32 lots the kinds of client have drawn this week, … */
  families: number;
  /** … and which of 64 the clients with their cookies. */
  clients: [number, number];
  /** As it was found the week before. */
  wasShared: boolean;
}

export const newSharedAddress = (): SharedAddress => ({
  week: 0,
  families: 0,
  clients: [0, 0],
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
  const lot = finishHash(client) & 63;
  state.clients[lot >> 5]! |= 1 << (lot & 31);
  return state.wasShared || hasManyClients(state);
}

function hasManyClients({ families, clients: [low, high] }: SharedAddress): boolean {
  const kinds = bitsOf(families);
  return kinds >= FAMILIES || (kinds >= FAMILIES_WITH_COOKIES && bitsOf(low) + bitsOf(high) >= CLIENTS);
}

function bitsOf(bits: number): number {
  let count = 0;
  for (let rest = bits; rest !== 0; rest &= rest - 1) count++;
  return count;
}

/** At most 25 characters. */
export function encodeSharedAddress({ week, families, clients, wasShared }: SharedAddress): string {
  return toNumerals([week, families >>> 0, clients[0] >>> 0, clients[1] >>> 0, wasShared ? 1 : 0]);
}

export function decodeSharedAddress(text: string): SharedAddress {
  const [week = 0, families = 0, low = 0, high = 0, wasShared = 0] = fromNumerals(text);
  return { week, families: families | 0, clients: [low | 0, high | 0], wasShared: wasShared === 1 };
}
