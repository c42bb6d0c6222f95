import { sourceOf, type ApiCall } from '@tripline/model';
import { finite, readOrigin, writeOrigin, type Origin } from '../../across-actors/origin.ts';
import type { ByteReader } from '../../codec/byte-reader.ts';
import type { ByteWriter } from '../../codec/byte-writer.ts';
import { clientFamily } from '../../places/client-family.ts';
import { readSample, writeSample } from '../../sketches/sample-codec.ts';
import { Sample, sampleHash } from '../../sketches/sample.ts';
import { ACCOUNTS_TRIED_KEPT, TRIES_KEPT } from './limits.ts';

/** From where an account was tried within a minute. Any number of equal tries is one. */
export interface Try extends Origin {
  accepted: boolean;
  /** The address; of IPv6 its /64. */
  ip: string;
  /** Hash of the user agent without its version numbers. */
  client: number;
  /** The first in order of its characters of the calls that were such a try. */
  callId: string;
}

/**
 * By account, at most TRIES_KEPT each: the first by their keys, in which accepted tries come before refused ones. Calls of a consumer
 * that Kong knows are not counted: whether those come from an unusual place is judged by other detectors.
 */
export type Tried = Sample<Map<string, Try>>;

const newTried = (): Tried => new Sample(ACCOUNTS_TRIED_KEPT);

/** Records a login attempt if the call names a user and is not a Kong consumer's. Returns the sample. */
export function addTry(tried: Tried | null, call: ApiCall, accepted: boolean): Tried | null {
  const { user, consumerId } = call;
  const ip = sourceOf(call);
  if (user === undefined || ip === undefined || consumerId !== undefined) return tried;
  const hash = sampleHash(user);
  if (tried && !tried.takes(hash)) return tried;
  const sample = tried ?? newTried();
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
  const sample = tried ?? newTried();
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

export function writeTried(writer: ByteWriter, tried: Tried): void {
  writeSample(writer, tried, (account, tries) => {
    writer.text(account);
    writer.uint(tries.size);
    for (const [, one] of [...tries].sort(([a], [b]) => (a < b ? -1 : 1))) {
      writer.boolean(one.accepted);
      writer.text(one.ip);
      writeOrigin(writer, one);
      writer.number(one.client);
      writer.text(one.callId);
    }
  });
}

export function readTried(reader: ByteReader): Tried {
  const tried = newTried();
  readSample(reader, () => {
    const account = reader.text();
    const hash = sampleHash(account);
    for (let left = reader.count(); left > 0; left--) {
      const accepted = reader.boolean();
      const ip = reader.text();
      const origin = readOrigin(reader);
      const client = finite(reader.number());
      const callId = reader.text();
      keep(tried, account, hash, { accepted, ip, ...origin, client, callId });
    }
  });
  return tried;
}
