import { open, type Reader, type Response } from 'maxmind';
import type { Place } from '@tripline/kong';
import { UserError } from '@tripline/runtime';

/** A record of an MMDB: MaxMind's nested form or the flat form of other databases. */
type Loose = Record<string, unknown> & Response;

/**
 * Opens the operator's databases; undefined if there are none. Understands MaxMind's nested records and flat ones
 * (`country_code`, `city`, `latitude`, `autonomous_system_number`, …). Rejects with a `UserError` if a file cannot be read as MMDB.
 */
export async function openGeo(files: {
  cityFile?: string | undefined;
  asnFile?: string | undefined;
}): Promise<((ip: string) => Place | undefined) | undefined> {
  const readers: Reader<Loose>[] = [];
  for (const key of ['cityFile', 'asnFile'] as const) {
    const file = files[key];
    if (file === undefined) continue;
    try {
      readers.push(await open<Loose>(file));
    } catch (error) {
      throw new UserError(
        `geo.${key}: ${file} cannot be read as an MMDB database: ${(error as Error).message}`,
        { cause: error },
      );
    }
  }
  if (readers.length === 0) return undefined;
  return (ip) => {
    const place: Place = {};
    for (const reader of readers) Object.assign(place, placeOf(reader.get(ip)));
    return place;
  };
}

/** The place in a record of either form. */
export function placeOf(record: Record<string, unknown> | null): Place {
  if (!record) return {};
  const place: Place = {};
  const country =
    text(dig(record, 'country', 'iso_code')) ?? text(record.country_code) ?? text(record.country);
  const city = text(dig(record, 'city', 'names', 'en')) ?? text(record.city);
  const latitude = number(dig(record, 'location', 'latitude')) ?? number(record.latitude);
  const longitude = number(dig(record, 'location', 'longitude')) ?? number(record.longitude);
  const asn = number(record.autonomous_system_number) ?? number(record.asn);
  const asOrganization = text(record.autonomous_system_organization) ?? text(record.as_organization);
  if (country?.length === 2) place.country = country.toUpperCase();
  if (city !== undefined) place.city = city;
  if (latitude !== undefined && longitude !== undefined) {
    place.latitude = latitude;
    place.longitude = longitude;
  }
  if (asn !== undefined) place.asn = asn;
  if (asOrganization !== undefined) place.asOrganization = asOrganization;
  return place;
}

function dig(record: Record<string, unknown>, ...path: string[]): unknown {
  return path.reduce<unknown>(
    (at, step) => (typeof at === 'object' && at !== null ? (at as Record<string, unknown>)[step] : undefined),
    record,
  );
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function number(value: unknown): number | undefined {
  const found = typeof value === 'string' && value !== '' ? Number(value) : value;
  return typeof found === 'number' && Number.isFinite(found) ? found : undefined;
}
