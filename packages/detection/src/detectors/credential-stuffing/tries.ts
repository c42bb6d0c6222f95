import { sourceOf, type ApiCall } from '@tripline/model';
import { clientFamily } from '../../places/client-family.ts';
import { ACCOUNTS_TRIED_KEPT, TRIES_KEPT } from '../../across-actors/limits.ts';
import { Sample, sampleHash } from '../../sketches/sample.ts';

/** From where an account was tried within a minute: any number of equal tries is one. */
export interface Try {
  accepted: boolean;
  /** The address; of IPv6 its /64. */
  ip: string;
  country: string | null;
  asn: number | null;
  /** Hash of the user agent without its version numbers. */
  client: number;
  /** The first in order of its characters of the calls that were such a try. */
  callId: string;
}

/**
 * By account. At most TRIES_KEPT each, the first by their keys: accepted ones come before refused ones. Not counted are the
 * calls of a consumer that Kong knows: from where it usually comes is another detector's question.
 */
export type Tried = Sample<Map<string, Try>>;

/** Adds a login that was accepted or refused, if it tells the account and nobody else's question; returns what to keep. */
export function addTry(tried: Tried | null, call: ApiCall, accepted: boolean): Tried | null {
  const { user, consumerId } = call;
  const ip = sourceOf(call);
  if (user === undefined || ip === undefined || consumerId !== undefined) return tried;
  const hash = sampleHash(user);
  if (tried && !tried.takes(hash)) return tried;
  const sample = tried ?? new Sample<Map<string, Try>>(ACCOUNTS_TRIED_KEPT);
  keep(sample, user, hash, {
    accepted,
    ip,
    country: call.country ?? null,
    asn: call.asn ?? null,
    client: clientFamily(call.userAgent ?? ''),
    callId: call.id,
  });
  return sample;
}

/** Adds `other` to `tried`; `other` stays as it is. */
export function mergeTried(tried: Tried | null, other: Tried | null): Tried | null {
  if (!other) return tried;
  const sample = tried ?? new Sample<Map<string, Try>>(ACCOUNTS_TRIED_KEPT);
  for (const [account, { hash, value }] of other.entries())
    for (const one of value.values()) keep(sample, account, hash, one);
  return sample;
}

function keep(sample: Tried, account: string, hash: number, one: Try): void {
  const tries = sample.pick(account, hash, () => new Map<string, Try>());
  if (!tries) return;
  const key = keyOf(one);
  const known = tries.get(key);
  if (known) {
    if (one.callId < known.callId) known.callId = one.callId;
    return;
  }
  tries.set(key, { ...one });
  if (tries.size <= TRIES_KEPT) return;
  let last = '';
  for (const each of tries.keys()) if (each > last) last = each;
  tries.delete(last);
}

function keyOf({ accepted, ip, country, asn, client }: Try): string {
  return `${accepted ? 'a' : 'r'} ${ip} ${country ?? ''} ${asn ?? ''} ${client}`;
}

export type EncodedTried = [
  account: string,
  ...tries: [
    accepted: 0 | 1,
    ip: string,
    country: string | null,
    asn: number | null,
    client: number,
    callId: string,
  ][],
][];

/** As JSON; equal ones give equal JSON. */
export function encodeTried(tried: Tried): EncodedTried {
  return tried
    .sorted()
    .map(([account, { value }]) => [
      account,
      ...[...value]
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([, one]): EncodedTried[number][1] => [
          one.accepted ? 1 : 0,
          one.ip,
          one.country,
          one.asn,
          one.client,
          one.callId,
        ]),
    ]);
}

export function decodeTried(encoded: EncodedTried): Tried {
  const tried: Tried = new Sample(ACCOUNTS_TRIED_KEPT);
  for (const [account, ...tries] of encoded)
    for (const [accepted, ip, country, asn, client, callId] of tries)
      keep(tried, account, sampleHash(account), {
        accepted: accepted === 1,
        ip,
        country,
        asn,
        client,
        callId,
      });
  return tried;
}
