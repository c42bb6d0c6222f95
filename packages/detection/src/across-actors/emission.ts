import { ByteReader } from '../codec/byte-reader.ts';
import { ByteWriter } from '../codec/byte-writer.ts';
import { ENDPOINT_WINDOW_MS } from './limits.ts';

/**
 * What one partition of `api-calls` sends to the partitions of `aggregates`: parts, each to its endpoint's partition, and to
 * all of them how far it has come.
 */
export interface Emission {
  /** The partition of `api-calls`. */
  from: number;
  /** Grows from emission to emission of a source; at least the event time reached, so that it also grows when state was lost. */
  number: number;
  /** Everything of steps up to this one has been sent; -1 before the first call. */
  until: number;
  /** No calls are coming: do not wait for this source until it sends something without `idle`. */
  idle: boolean;
  parts: EmittedPart[];
}

/** One window of one endpoint, as one partition of `api-calls` saw it. Steps and windows count ENDPOINT_WINDOW_MS since the epoch. */
export interface EmittedPart {
  /** The window with which this one is judged: itself, or a later one for calls that came after their window was sent on. */
  step: number;
  window: number;
  service: string;
  endpoint: string;
  /** A minute as `MinuteParts.encode` wrote it. */
  minute: Buffer;
}

/** Raise it when the bytes around the minutes change. Records of any other version are refused. */
const EMISSION_VERSION = 1;
/** No window lies beyond the last time that a date can have. */
const WINDOW_MOST = 8.64e15 / ENDPOINT_WINDOW_MS;

/** The value of a record of the topic `aggregates`. */
export function encodeEmission(emission: Emission): Buffer {
  const writer = new ByteWriter();
  writeEmission(writer, emission);
  return writer.take();
}

/**
 * Reads a record of the topic `aggregates`: foreign bytes, of which wrong ones would end up in what is learnt of an endpoint. Throws on
 * what is no emission of one of `sources` partitions. The minutes themselves are checked when `MinuteHold` takes them.
 */
export function decodeEmission(bytes: Buffer, sources: number): Emission {
  const reader = new ByteReader(bytes);
  const emission = readEmission(reader);
  reader.expectEnd();
  if (emission.from >= sources)
    throw new Error(
      `from is ${emission.from}, which is no number of a partition: allowed are 0 to ${sources - 1}`,
    );
  return emission;
}

export function writeEmission(writer: ByteWriter, { from, number, until, idle, parts }: Emission): void {
  writer.uint(EMISSION_VERSION);
  writer.uint(from);
  writer.uint(number);
  writer.uint(until + 1);
  writer.boolean(idle);
  writer.uint(parts.length);
  for (const part of parts) writePart(writer, part);
}

export function readEmission(reader: ByteReader): Emission {
  const version = reader.uint();
  if (version !== EMISSION_VERSION)
    throw new Error(`the emission has version ${version}, expected is ${EMISSION_VERSION}`);
  const from = reader.uint();
  const number = reader.uint();
  const until = readUntil(reader);
  const idle = reader.boolean();
  const parts: EmittedPart[] = [];
  for (let left = reader.count(5); left > 0; left--) parts.push(readPart(reader));
  return { from, number, until, idle, parts };
}

export function writePart(
  writer: ByteWriter,
  { step, window, service, endpoint, minute }: EmittedPart,
): void {
  writer.uint(step);
  writer.uint(window);
  writer.text(service);
  writer.text(endpoint);
  writer.section(minute);
}

export function readPart(reader: ByteReader): EmittedPart {
  const step = readWindow(reader);
  const window = readWindow(reader);
  const service = reader.text();
  const endpoint = reader.text();
  return { step, window, service, endpoint, minute: reader.sectionBytes() };
}

/** A window, or -1 before the first one. */
export function readUntil(reader: ByteReader): number {
  const until = reader.uint() - 1;
  if (until > WINDOW_MOST)
    throw new Error(`until is ${until}, which is beyond the last window ${WINDOW_MOST}`);
  return until;
}

export function readWindow(reader: ByteReader): number {
  const window = reader.uint();
  if (window > WINDOW_MOST)
    throw new Error(`a window is ${window}, which is beyond the last one ${WINDOW_MOST}`);
  return window;
}

/** By step, window, service and endpoint. */
export function inOrderOfParts(a: Omit<EmittedPart, 'minute'>, b: Omit<EmittedPart, 'minute'>): number {
  return (
    a.step - b.step ||
    a.window - b.window ||
    compareTexts(a.service, b.service) ||
    compareTexts(a.endpoint, b.endpoint)
  );
}

function compareTexts(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
