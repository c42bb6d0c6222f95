import { sourceOf, type AlertSource, type ApiCall } from '@tripline/model';
import type { ByteReader } from '../codec/byte-reader.ts';
import type { ByteWriter } from '../codec/byte-writer.ts';
import {
  DOMINANT_SHARE,
  ENDPOINTS_MOST,
  SAMPLES_MOST,
  SOURCES_MOST,
  TALLY_KEYS,
} from '../baseline/limits.ts';

/** Counts per value: at most TALLY_KEYS values, those that came later under `''`. */
type Counts = Map<string, number>;

interface SourceCount {
  count: number;
  country: string | undefined;
  asn: number | undefined;
}

/** What an alert shows of its calls besides their number. Every part is bounded. */
export interface Tally {
  calls: number;
  serverErrors: number;
  sources: Map<string, SourceCount>;
  endpoints: Counts;
  services: Counts;
  routes: Counts;
  statuses: Counts;
  sampleCallIds: string[];
}

export function newTally(): Tally {
  return {
    calls: 0,
    serverErrors: 0,
    sources: new Map(),
    endpoints: new Map(),
    services: new Map(),
    routes: new Map(),
    statuses: new Map(),
    sampleCallIds: [],
  };
}

function add(counts: Counts, key: string): void {
  const count = counts.get(key);
  if (count !== undefined) counts.set(key, count + 1);
  else if (counts.size < TALLY_KEYS) counts.set(key, 1);
  else counts.set('', (counts.get('') ?? 0) + 1);
}

export function tallyCall(tally: Tally, call: ApiCall, serverFailed: boolean): void {
  tally.calls++;
  if (serverFailed) tally.serverErrors++;
  const from = sourceOf(call);
  if (from !== undefined) {
    const source = tally.sources.get(from);
    if (source) source.count++;
    else if (tally.sources.size < TALLY_KEYS) {
      tally.sources.set(from, { count: 1, country: call.country, asn: call.asn });
    }
  }
  add(tally.endpoints, call.endpoint);
  add(tally.services, call.service ?? '');
  add(tally.routes, call.route ?? '');
  add(tally.statuses, `${Math.floor(call.status / 100)}xx`);
  if (tally.sampleCallIds.length < SAMPLES_MOST) tally.sampleCallIds.push(call.id);
}

/** The value of at least DOMINANT_SHARE of the calls; null if there is none. */
export function dominant(tally: Tally, counts: Counts): string | null {
  for (const [key, count] of counts) if (key !== '' && count >= DOMINANT_SHARE * tally.calls) return key;
  return null;
}

/** Largest first; equal counts by name, so that the order is the same however the map came about. */
export function largestFirst<T>(
  entries: Iterable<[string, T]>,
  countOf: (value: T) => number,
): [string, T][] {
  return [...entries].sort((a, b) => countOf(b[1]) - countOf(a[1]) || (a[0] < b[0] ? -1 : 1));
}

/** Calls of one source (an address, of IPv6 its /64), and where it is as far as that is known. */
interface CallsFrom {
  ip: string;
  count: number;
  country?: string | null | undefined;
  asn?: number | null | undefined;
}

/** Counts added up by address, as alerts list them: the largest first, at most SOURCES_MOST. */
export function alertSources(calls: Iterable<CallsFrom>): AlertSource[] {
  const sources = new Map<string, AlertSource>();
  for (const { ip, count, country, asn } of calls) {
    if (ip === '') continue;
    const known = sources.get(ip);
    if (known) known.count += count;
    else
      sources.set(ip, {
        ip,
        count,
        ...(country == null ? {} : { country }),
        ...(asn == null ? {} : { asn }),
      });
  }
  return largestFirst(sources, ({ count }) => count)
    .slice(0, SOURCES_MOST)
    .map(([, source]) => source);
}

export function topSources(tally: Tally): AlertSource[] {
  return alertSources([...tally.sources].map(([ip, source]) => ({ ip, ...source })));
}

export function topEndpoints(tally: Tally): { endpoint: string; count: number }[] {
  return largestFirst(tally.endpoints, (count) => count)
    .filter(([endpoint]) => endpoint !== '')
    .slice(0, ENDPOINTS_MOST)
    .map(([endpoint, count]) => ({ endpoint, count }));
}

/** Calls by class of status, `{ "2xx": 400, "4xx": 12 }`, in the order of the classes. */
export function statusClasses(tally: Tally): Record<string, number> {
  return Object.fromEntries([...tally.statuses].sort((a, b) => (a[0] < b[0] ? -1 : 1)));
}

function encodeCounts(counts: Counts, writer: ByteWriter): void {
  writer.uint(counts.size);
  for (const [key, count] of counts) {
    writer.text(key);
    writer.uint(count);
  }
}

function decodeCounts(reader: ByteReader): Counts {
  const counts: Counts = new Map();
  for (let left = reader.count(2); left > 0; left--) counts.set(reader.text(), reader.uint());
  return counts;
}

export function encodeTally(tally: Tally, writer: ByteWriter): void {
  writer.uint(tally.calls);
  writer.uint(tally.serverErrors);
  writer.uint(tally.sources.size);
  for (const [ip, { count, country, asn }] of tally.sources) {
    writer.text(ip);
    writer.uint(count);
    writer.optionalText(country);
    writer.boolean(asn !== undefined);
    if (asn !== undefined) writer.number(asn);
  }
  encodeCounts(tally.endpoints, writer);
  encodeCounts(tally.services, writer);
  encodeCounts(tally.routes, writer);
  encodeCounts(tally.statuses, writer);
  writer.texts(tally.sampleCallIds);
}

export function decodeTally(reader: ByteReader): Tally {
  const tally = newTally();
  tally.calls = reader.uint();
  tally.serverErrors = reader.uint();
  for (let left = reader.count(4); left > 0; left--) {
    const ip = reader.text();
    const count = reader.uint();
    const country = reader.optionalText();
    const asn = reader.boolean() ? reader.number() : undefined;
    tally.sources.set(ip, { count, country, asn });
  }
  tally.endpoints = decodeCounts(reader);
  tally.services = decodeCounts(reader);
  tally.routes = decodeCounts(reader);
  tally.statuses = decodeCounts(reader);
  tally.sampleCallIds = reader.texts();
  return tally;
}

/** As `encodeTally`, where there may be none. */
export function encodeOptionalTally(tally: Tally | null, writer: ByteWriter): void {
  writer.boolean(tally !== null);
  if (tally) encodeTally(tally, writer);
}

export function decodeOptionalTally(reader: ByteReader): Tally | null {
  return reader.boolean() ? decodeTally(reader) : null;
}
