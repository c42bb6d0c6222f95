import { finite, readOrigin, writeOrigin } from '../../across-actors/origin.ts';
import type { ByteReader } from '../../codec/byte-reader.ts';
import type { ByteWriter } from '../../codec/byte-writer.ts';
import { addFeature, newAccountMemory, type Account, type AccountMemory } from './accounts.ts';

/** Thousands of accounts, about 16 bytes each: the largest part of an endpoint's state. `having` is not written, as it follows. */
export function writeAccounts(writer: ByteWriter, memory: AccountMemory): void {
  writer.uint(memory.limit);
  writer.uint(memory.day + 1);
  writer.uint(memory.hour + 1);
  writer.uint(memory.days);
  writer.number(memory.mostPerHour);
  writer.number(memory.mostPerDay);
  writer.uint(memory.accounts.size);
  for (const [key, { settled, day, features }] of memory.accounts) {
    writer.hash32(key);
    writer.uint(2 * day + (settled ? 1 : 0));
    writer.uints(features);
  }
  writer.uint(memory.strangers.size);
  for (const [key, stranger] of memory.strangers) {
    writer.hash32(key);
    writer.text(stranger.account);
    writer.uint(stranger.atMs);
    writer.text(stranger.ip);
    writeOrigin(writer, stranger);
    writer.text(stranger.callId);
    writer.boolean(stranger.opened);
  }
  writer.uint(memory.opened.size);
  for (const [account, ip] of memory.opened) {
    writer.text(account);
    writer.text(ip);
  }
}

export function readAccounts(reader: ByteReader): AccountMemory {
  const memory = newAccountMemory();
  memory.limit = reader.uint();
  memory.day = reader.uint() - 1;
  memory.hour = reader.uint() - 1;
  memory.days = reader.uint();
  memory.mostPerHour = finite(reader.number());
  memory.mostPerDay = finite(reader.number());
  for (let left = reader.count(6); left > 0; left--) {
    const key = reader.hash32();
    const dayAndSettled = reader.uint();
    const isSettled = dayAndSettled % 2 === 1;
    const account: Account = { features: [], day: Math.floor(dayAndSettled / 2), settled: isSettled };
    memory.accounts.set(key, account);
    for (const one of reader.uints()) addFeature(memory, account, one);
  }
  for (let left = reader.count(9); left > 0; left--) {
    const key = reader.hash32();
    const account = reader.text();
    const atMs = reader.uint();
    const ip = reader.text();
    const origin = readOrigin(reader);
    const callId = reader.text();
    memory.strangers.set(key, { account, atMs, ip, ...origin, callId, opened: reader.boolean() });
  }
  for (let left = reader.count(2); left > 0; left--) memory.opened.set(reader.text(), reader.text());
  return memory;
}
