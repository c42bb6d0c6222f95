import type { ByteReader } from '../../codec/byte-reader.ts';
import type { ByteWriter } from '../../codec/byte-writer.ts';
import type { SharingCounts } from './sharing.ts';

export function encodeSharingCounts(counts: SharingCounts, writer: ByteWriter): void {
  writer.int(counts.window);
  writer.uint(counts.networks.length);
  for (const { asn, country, isNew } of counts.networks) {
    writer.number(asn);
    writer.text(country);
    writer.boolean(isNew);
  }
  writer.flags(counts.ownBrowser, counts.isAtOnce, counts.isMixed, counts.twoKinds);
  writer.hash24(counts.ownPrefix);
  writer.hash24(counts.strangePrefix);
  writer.uint(counts.atOnce);
  writer.uint(counts.atOnceMs);
  writer.uint(counts.mixed);
  writer.uint(counts.mixedHours);
  writer.uint(counts.mixedSinceMs);
  writer.uint(counts.mixedMs);
}

export function decodeSharingCounts(reader: ByteReader): SharingCounts {
  const window = reader.int();
  const networks: SharingCounts['networks'] = [];
  for (let left = reader.count(3); left > 0; left--)
    networks.push({ asn: reader.number(), country: reader.text(), isNew: reader.boolean() });
  const [ownBrowser = false, isAtOnce = false, isMixed = false, twoKinds = false] = reader.flags(4);
  return {
    window,
    networks,
    ownBrowser,
    isAtOnce,
    isMixed,
    twoKinds,
    ownPrefix: reader.hash24(),
    strangePrefix: reader.hash24(),
    atOnce: reader.uint(),
    atOnceMs: reader.uint(),
    mixed: reader.uint(),
    mixedHours: reader.uint(),
    mixedSinceMs: reader.uint(),
    mixedMs: reader.uint(),
  };
}
