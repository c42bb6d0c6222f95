import type { ApiCall } from '@tripline/model';
import { z } from 'zod';
import { offset, offsetMs, profile, randomFrom, shareAt } from './program.ts';

/**
 * Logins on one endpoint as a small seeded program: who comes, from where, as whom, and how it ends. Each visit is of one
 * address and one account: `failing` is the odds that a try fails, and a failed try is made again after `gapSeconds` until it
 * succeeds or `tries` are used up.
 */
export const loginsSchema = z.strictObject({
  from: offset,
  until: offset,
  /** Visits, on average, at random times; at the peak if there is a profile. */
  perMinute: z.number().positive(),
  profile: profile.optional(),
  /** Addresses and accounts that the visits are spread over; the nth visitor always uses the same pair of equal pools. */
  addresses: z.int().min(1),
  accounts: z.int().min(1),
  /** Accounts are told by the lines as tokens (basic auth, or fingerprints from Kong). */
  accountsKnown: z.boolean().default(true),
  /** The accounts are those of the first program: its users are the victims, or have moved. */
  ofFirst: z.boolean().default(false),
  /** A success names a consumer of Kong: then it lies on another partition than the failures of its address. */
  consumers: z.boolean().default(false),
  failing: z.number().min(0).max(1).default(0.1),
  tries: z.int().min(1).default(4),
  gapSeconds: z.number().positive().default(8),
  /** The first try of each visit fails, as with an expired token; what follows succeeds. */
  expired: z.boolean().default(false),
  /** Instead of 401 and 200: an outage. */
  status: z.int().optional(),
  /** What a try that fails is answered, and what the collector made of it. */
  failedStatus: z.int().default(401),
  failedAs: z.enum(['challenge', 'failure']).default('failure'),
  /** Tries that fail are answered by Kong, not by the service. */
  byKong: z.boolean().default(false),
  /** Visits come evenly, as those of a program do. */
  even: z.boolean().default(false),
  /** Requests have so many different sizes: the lengths of the words of a list. */
  lengths: z.int().min(1).default(1),
  /** What the lines show of the credential: nothing, that it is the same each time, or that it is another one each time. */
  credential: z.enum(['hidden', 'same', 'other']).default('hidden'),
  authScheme: z.string().optional(),
  presented: z.enum(['nothing', 'something']).optional(),
  addressSuccesses: z.int().min(1).optional(),
  /** All addresses are of one /64. */
  ipv6: z.boolean().default(false),
  userAgent: z.string().optional(),
  service: z.string().default('accounts'),
  endpoint: z.string().default('POST /login'),
  network: z.int().default(64_500),
});

export type Logins = z.infer<typeof loginsSchema>;
export type LoginsInput = z.input<typeof loginsSchema>;

/** The calls of all programs in the order in which they begin. */
export function loginsOf(programs: readonly Logins[], startMs: number, seed: number): ApiCall[] {
  return programs
    .flatMap((program, index) => [...visits(program, index, startMs, randomFrom(seed * 7_919 + index))])
    .sort((a, b) => a.startedAt - b.startedAt || (a.id < b.id ? -1 : 1));
}

function* visits(program: Logins, index: number, startMs: number, random: () => number): Generator<ApiCall> {
  const fromMs = startMs + offsetMs(program.from);
  const untilMs = startMs + offsetMs(program.until);
  const meanGapMs = 60_000 / program.perMinute;
  let number = 0;
  for (let atMs = fromMs - Math.log(1 - random()) * meanGapMs; atMs < untilMs;) {
    const gapMs = program.even ? meanGapMs : -Math.log(1 - random()) * meanGapMs;
    if (random() < shareAt(program.profile, atMs)) {
      const visitor = Math.floor(random() * Math.max(program.addresses, program.accounts));
      for (let attempt = 0; attempt < program.tries; attempt++) {
        const fails = program.expired ? attempt === 0 : random() < program.failing;
        const startedAt = Math.floor(atMs + attempt * program.gapSeconds * 1_000);
        const requestBytes = 300 + (program.lengths > 1 ? Math.floor(random() * program.lengths) : 0);
        yield login(program, index, visitor, number++, startedAt, fails, requestBytes);
        if (!fails) break;
      }
    }
    atMs += gapMs;
  }
}

function login(
  program: Logins,
  index: number,
  visitor: number,
  number: number,
  startedAt: number,
  fails: boolean,
  requestBytes: number,
): ApiCall {
  const status = program.status ?? (fails ? program.failedStatus : 200);
  const isRefused = program.status === undefined ? fails : status === 401;
  const address = visitor % program.addresses;
  const account = `account-${index === 0 || program.ofFirst ? '' : `${index}-`}${visitor % program.accounts}`;
  const network = `2001:db8:${index}:1::/64`;
  const ip = program.ipv6
    ? `2001:db8:${index}:1::${(address + 1).toString(16)}`
    : `10.${index}.${address >> 8}.${address & 255}`;
  const source = program.ipv6 ? network : ip;
  const consumer = program.consumers && !isRefused && status < 400;
  const { credential, authScheme, presented, addressSuccesses } = program;
  return {
    id: `${index}-${number}.${startedAt}`.padStart(8, '0'),
    startedAt,
    actorKind: consumer ? 'consumer' : 'address',
    actorId: consumer ? account : source,
    actorName: consumer ? account : source,
    ...(consumer ? { consumerId: account, consumerUsername: account } : {}),
    ...(program.accountsKnown ? { user: `~user~${account}` } : {}),
    ...(credential === 'hidden' ? {} : { credential: `~secret~${credential === 'same' ? index : number}` }),
    ...(authScheme === undefined ? {} : { authScheme }),
    ...(presented === undefined ? {} : { presented }),
    ...(isRefused ? { auth: program.failedAs } : {}),
    ...(addressSuccesses === undefined ? {} : { addressSuccesses }),
    ip,
    ...(program.ipv6 ? { network } : {}),
    country: index === 0 ? 'NO' : 'VN',
    asn: program.network + (address % 3),
    method: 'POST',
    path: '/login',
    endpoint: program.endpoint,
    service: program.service,
    userAgent: program.userAgent ?? `client/${index}`,
    status,
    source: isRefused && program.byKong ? 'kong' : 'upstream',
    requestBytes,
    responseBytes: 200,
    latencyMs: 20,
  };
}
