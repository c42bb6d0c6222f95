import { sourceOf, type ApiCall } from '@tripline/model';
import { readOrigin, writeOrigin, type Origin } from '../../across-actors/origin.ts';
import { isAuthFailure, isAuthSuccess } from '../../auth-outcome.ts';
import type { ByteReader } from '../../codec/byte-reader.ts';
import type { ByteWriter } from '../../codec/byte-writer.ts';
import { readSample, writeSample } from '../../sketches/sample-codec.ts';
import { Sample, sampleHash } from '../../sketches/sample.ts';
import { shorten } from '../../sketches/shorten.ts';

/** Callers kept per endpoint and minute: their number and their calls are known to 18 %. */
const CALLERS_KEPT = 32;
const NAME_LENGTH_MOST = 64;

/** An actor's calls to an endpoint in a minute, or in several, and where one of them came from. */
export interface Caller extends Origin {
  calls: number;
  /** The smallest of its calls' ids, so that it does not depend on their order; address and origin are of the same call. */
  callId: string;
  ip: string;
}

/** Callers by the name of the actor. */
export type Callers = Sample<Caller>;

export const newCallers = (): Callers => new Sample(CALLERS_KEPT);

/** Adds a call, unless its login failed or was challenged, or the server failed it. */
export function addCaller(callers: Callers | undefined, call: ApiCall): Callers | undefined {
  if (!counts(call)) return callers;
  callers ??= newCallers();
  const name = shorten(call.actorName, NAME_LENGTH_MOST);
  const hash = sampleHash(name);
  if (!callers.takes(hash)) return callers;
  const { id: callId, country = null, asn = null } = call;
  const ip = sourceOf(call) ?? '';
  const caller = callers.pick(name, hash, () => ({ calls: 0, callId, ip, country, asn }));
  if (!caller) return callers;
  caller.calls++;
  if (callId < caller.callId) Object.assign(caller, { callId, ip, country, asn });
  return callers;
}

function counts(call: ApiCall): boolean {
  if (isAuthSuccess(call)) return true;
  if (isAuthFailure(call) || call.auth === 'challenge') return false;
  return call.status < 500 && call.status !== 499;
}

/** Adds `other` to `callers`; `other` stays as it is. */
export function mergeCallers(callers: Callers, other: Callers): void {
  for (const [name, { hash, value }] of other.entries()) {
    const caller = callers.pick(name, hash, () => ({ ...value, calls: 0 }));
    if (!caller) continue;
    const { calls, ...rest } = value;
    caller.calls += calls;
    if (rest.callId < caller.callId) Object.assign(caller, rest);
  }
}

export function writeCallers(writer: ByteWriter, callers: Callers): void {
  writeSample(writer, callers, (name, caller) => {
    writer.text(name);
    writer.uint(caller.calls);
    writer.text(caller.callId);
    // Mostly the name is the address.
    writer.boolean(caller.ip !== name);
    if (caller.ip !== name) writer.text(caller.ip);
    writeOrigin(writer, caller);
  });
}

export function readCallers(reader: ByteReader): Callers {
  const callers = newCallers();
  readSample(reader, () => {
    const name = reader.text();
    const calls = reader.uint();
    const callId = reader.text();
    const ip = reader.boolean() ? reader.text() : name;
    const origin = readOrigin(reader);
    callers.pick(name, sampleHash(name), () => ({ calls, callId, ip, ...origin }));
  });
  return callers;
}
