import { finite, readOrigin, writeOrigin } from '../../across-actors/origin.ts';
import type { ByteReader } from '../../codec/byte-reader.ts';
import type { ByteWriter } from '../../codec/byte-writer.ts';
import { readSample, writeSample } from '../../sketches/sample-codec.ts';
import { Sample, sampleHash } from '../../sketches/sample.ts';
import { SUCCEEDED_KEPT } from './limits.ts';
import {
  addName,
  attemptKey,
  newFailedLogins,
  newOutcomes,
  type FailedLogins,
  type LoginOutcomes,
  type Logins,
  type SucceededSource,
} from './logins.ts';
import { readTried, writeTried } from './tries.ts';

/** Raise it when bytes of logins that were written before can no longer be read. */
export const LOGINS_VERSION = 1;

export function writeLogins(writer: ByteWriter, logins: Logins): void {
  writeOutcomes(writer, logins);
  writer.boolean(logins.tried !== null);
  if (logins.tried) writeTried(writer, logins.tried);
}

export function readLogins(reader: ByteReader): Logins {
  const outcomes = readOutcomes(reader);
  return { ...outcomes, tried: reader.boolean() ? readTried(reader) : null };
}

export function writeOutcomes(writer: ByteWriter, outcomes: LoginOutcomes): void {
  const { successes, failures, serverErrors, failing, succeeded } = outcomes;
  writer.uint(successes);
  writer.uint(failures);
  writer.uint(serverErrors);
  writer.flags(failing !== null, succeeded !== null);
  if (failing) writeFailing(writer, failing);
  if (succeeded)
    writeSample(writer, succeeded, (ip, { calls, names }) => {
      writer.text(ip);
      writer.uint(calls);
      writer.texts(names);
    });
}

export function readOutcomes(reader: ByteReader): LoginOutcomes {
  const outcomes = newOutcomes();
  outcomes.successes = reader.uint();
  outcomes.failures = reader.uint();
  outcomes.serverErrors = reader.uint();
  const [hasFailing, hasSucceeded] = reader.flags(2);
  if (hasFailing === true) outcomes.failing = readFailing(reader);
  if (hasSucceeded === true) {
    const succeeded = (outcomes.succeeded = new Sample<SucceededSource>(SUCCEEDED_KEPT));
    readSample(reader, () => {
      const ip = reader.text();
      const calls = reader.uint();
      const names: string[] = [];
      for (const name of reader.texts()) addName(names, name);
      succeeded.pick(ip, sampleHash(ip), () => ({ calls, names }));
    });
  }
  return outcomes;
}

function writeFailing(writer: ByteWriter, failing: FailedLogins): void {
  writer.number(failing.newestAt);
  writer.uint(failing.byKong);
  writeSample(writer, failing.attempts, (_, { ip, account, failures }) => {
    writer.text(ip);
    writer.text(account);
    writer.uint(failures);
  });
  writeSample(writer, failing.sources, (ip, source) => {
    writer.text(ip);
    writer.uint(source.failures);
    writeOrigin(writer, source);
  });
  writeSample(writer, failing.accounts, (account, { failures }) => {
    writer.text(account);
    writer.uint(failures);
  });
  writeSample(writer, failing.calls, (id, call) => {
    writer.text(id);
    writer.text(call.ip);
    writer.text(call.userAgent);
    writeOrigin(writer, call);
  });
}

function readFailing(reader: ByteReader): FailedLogins {
  const failing = newFailedLogins();
  failing.newestAt = finite(reader.number());
  failing.byKong = reader.uint();
  readSample(reader, () => {
    const ip = reader.text();
    const account = reader.text();
    const failures = reader.uint();
    const pair = attemptKey(ip, account);
    failing.attempts.pick(pair, sampleHash(pair), () => ({ ip, account, failures }));
  });
  readSample(reader, () => {
    const ip = reader.text();
    const failures = reader.uint();
    const origin = readOrigin(reader);
    failing.sources.pick(ip, sampleHash(ip), () => ({ failures, ...origin }));
  });
  readSample(reader, () => {
    const account = reader.text();
    const failures = reader.uint();
    failing.accounts.pick(account, sampleHash(account), () => ({ failures }));
  });
  readSample(reader, () => {
    const id = reader.text();
    const ip = reader.text();
    const userAgent = reader.text();
    const origin = readOrigin(reader);
    failing.calls.pick(id, sampleHash(id), () => ({ ip, userAgent, ...origin }));
  });
  return failing;
}
