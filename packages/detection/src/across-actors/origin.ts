import type { ByteReader } from '../codec/byte-reader.ts';
import type { ByteWriter } from '../codec/byte-writer.ts';

/** Where an address is, as far as the databases know: country code and number of the network (ASN). */
export interface Origin {
  country: string | null;
  asn: number | null;
}

export function writeOrigin(writer: ByteWriter, { country, asn }: Origin): void {
  writer.flags(country !== null, asn !== null);
  if (country !== null) writer.text(country);
  if (asn !== null) writer.number(asn);
}

export function readOrigin(reader: ByteReader): Origin {
  const [hasCountry, hasAsn] = reader.flags(2);
  const country = hasCountry === true ? reader.text() : null;
  const asn = hasAsn === true ? finite(reader.number()) : null;
  return { country, asn };
}

/** A number of a foreign record that is counted with: NaN and infinities would spread through all that is learnt. */
export function finite(value: number): number {
  if (!Number.isFinite(value)) throw new Error(`the record has ${value} where a finite number is expected`);
  return value;
}
