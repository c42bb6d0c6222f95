import type { Alert, ApiCall } from '@tripline/model';
import { LATENESS_MS } from '../baseline/limits.ts';
import { ByteReader } from '../codec/byte-reader.ts';
import { ByteWriter } from '../codec/byte-writer.ts';
import { registry } from '../registry.ts';
import {
  inOrderOfParts,
  readEmission,
  readPart,
  writeEmission,
  writePart,
  type EmittedPart,
  type Emission,
} from './emission.ts';
import { MinuteParts, type AcrossActorsDetector, type EndpointMinute } from './endpoint-minute.ts';
import {
  ENDPOINT_WINDOW_MS,
  GRACE_MS,
  OPEN_MINUTES_MOST,
  PARTS_PER_EMISSION,
  POOLED_SERVICES_MOST,
} from './limits.ts';

/** Stands for the endpoints of a service that were too many to be counted one by one. */
export const OTHER_ENDPOINTS = '*';

/** Raise it when states that were written before can no longer be read. */
const STATE_VERSION = 2;

/** Open minutes of one step and window; the endpoints' by service. */
interface OpenWindow {
  step: number;
  window: number;
  services: Map<string, Map<string, EndpointMinute>>;
}

/**
 * Counts the calls of one partition of `api-calls` per endpoint and minute of event time, and says what to send on when a
 * minute is over. That depends on the calls and their order only, neither on batches nor on clocks; except for `rest`.
 *
 * What is to be sent stays in the state until the caller has saved it: `encode` into a checkpoint, then publish `unsent`,
 * then `sent`. A crash in between publishes the same emissions again, with the same numbers, which the receiver skips.
 */
export class PreAggregator {
  readonly #from: number;
  readonly #minuteParts: MinuteParts;
  readonly #count: (minute: EndpointMinute, call: ApiCall) => void;
  readonly #open = new Map<string, OpenWindow>();
  /** The window of the last call: the next call mostly goes there too. */
  #last: OpenWindow | undefined;
  #openMinutes = 0;
  #watermark = 0;
  #until = -1;
  #number = 0;
  #idle = false;
  #unsent: Emission[] = [];
  /** Calls that came more than LATENESS_MS behind the newest and count nowhere. */
  late = 0;
  /** Calls of endpoints that were too many, counted under OTHER_ENDPOINTS. */
  pooled = 0;
  /** Parts of saved minutes that were dropped, as their detector or version is unknown here. */
  droppedParts = 0;

  /** `from`: the partition. `saved`: the bytes of `encode`; throws on any other bytes. */
  constructor(from: number, saved?: Buffer, detectors: readonly AcrossActorsDetector[] = registry) {
    this.#from = from;
    this.#minuteParts = new MinuteParts(detectors);
    this.#count = this.#minuteParts.createCounter();
    if (saved !== undefined) this.#decode(saved);
  }

  get unsent(): readonly Emission[] {
    return this.#unsent;
  }

  /** Minutes of endpoints that are being counted. */
  get openMinutes(): number {
    return this.#openMinutes;
  }

  /** Counts a call. A call that Kong refused to a known consumer (`refused`) only moves time on. */
  add(call: ApiCall): void {
    const atMs = call.startedAt;
    if (atMs > this.#watermark) this.#moveOn(atMs);
    if (this.#idle) {
      this.#idle = false;
      this.#emit(this.#until, []);
    }
    if (call.refused === true) return;
    if (atMs < this.#watermark - LATENESS_MS) {
      this.late++;
      return;
    }
    const window = Math.floor(atMs / ENDPOINT_WINDOW_MS);
    const step = Math.max(window, this.#until + 1);
    let open = this.#last;
    if (open?.window !== window || open.step !== step) open = this.#last = this.#openWindow(step, window);
    this.#count(this.#minuteOf(open, call.service ?? '', call.endpoint), call);
  }

  /**
   * Adds an alert about one address to the minute of its endpoint, where it becomes one with those about other addresses. False if no
   * detector takes it: then the alert stands for itself.
   */
  addFinding(alert: Alert): boolean {
    const window = Math.floor(alert.lastSeenAt / ENDPOINT_WINDOW_MS);
    const open = this.#openWindow(Math.max(window, this.#until + 1), window);
    const minute = this.#minuteOf(open, alert.service ?? '', alert.endpoint ?? '');
    return this.#minuteParts.addFinding(minute, alert);
  }

  /**
   * No calls have come for a while, by the caller's clock: everything is sent, and the receivers need not wait for this
   * partition. The caller checkpoints before it publishes, as always. False if it was resting already.
   */
  rest(): boolean {
    if (this.#idle) return false;
    this.#idle = true;
    let until = this.#until;
    for (const { step } of this.#open.values()) until = Math.max(until, step);
    this.#sendUntil(until);
    return true;
  }

  /** The unsent emissions are published. */
  sent(): void {
    this.#unsent = [];
  }

  #moveOn(watermark: number): void {
    this.#watermark = watermark;
    // The newest window that is over, and over by the grace.
    const until = Math.floor((watermark - GRACE_MS) / ENDPOINT_WINDOW_MS) - 1;
    if (until > this.#until) {
      this.#idle = false;
      this.#sendUntil(until);
    }
  }

  #openWindow(step: number, window: number): OpenWindow {
    const key = `${step} ${window}`;
    let open = this.#open.get(key);
    if (!open) this.#open.set(key, (open = { step, window, services: new Map() }));
    return open;
  }

  #minuteOf(open: OpenWindow, service: string, endpoint: string): EndpointMinute {
    return open.services.get(service)?.get(endpoint) ?? this.#openMinute(open, service, endpoint);
  }

  #openMinute(open: OpenWindow, service: string, endpoint: string): EndpointMinute {
    if (this.#openMinutes >= OPEN_MINUTES_MOST && endpoint !== OTHER_ENDPOINTS) {
      this.pooled++;
      const known = open.services.has(service) || open.services.size < POOLED_SERVICES_MOST;
      const pool = known ? service : '';
      return open.services.get(pool)?.get(OTHER_ENDPOINTS) ?? this.#openMinute(open, pool, OTHER_ENDPOINTS);
    }
    const minute = this.#minuteParts.newMinute();
    this.#keep(open, service, endpoint, minute);
    return minute;
  }

  #keep({ services }: OpenWindow, service: string, endpoint: string, minute: EndpointMinute): void {
    let endpoints = services.get(service);
    if (!endpoints) services.set(service, (endpoints = new Map<string, EndpointMinute>()));
    endpoints.set(endpoint, minute);
    this.#openMinutes++;
  }

  #sendUntil(until: number): void {
    const parts: EmittedPart[] = [];
    for (const [key, open] of this.#open) {
      if (open.step > until) continue;
      this.#open.delete(key);
      if (this.#last === open) this.#last = undefined;
      for (const part of this.#partsOf(open)) parts.push(part);
    }
    this.#openMinutes -= parts.length;
    parts.sort(inOrderOfParts);
    const last = parts.length - 1 - ((parts.length - 1) % PARTS_PER_EMISSION);
    // Only with the last of them is everything sent.
    for (let at = 0; at < last; at += PARTS_PER_EMISSION)
      this.#emit(this.#until, parts.slice(at, at + PARTS_PER_EMISSION), false);
    this.#until = until;
    this.#emit(until, parts.slice(Math.max(0, last)));
  }

  #emit(until: number, parts: EmittedPart[], idle = this.#idle): void {
    this.#number = Math.max(this.#number + 1, this.#watermark);
    this.#unsent.push({ from: this.#from, number: this.#number, until, idle, parts });
  }

  *#partsOf({ step, window, services }: OpenWindow): Generator<EmittedPart> {
    for (const [service, endpoints] of services)
      for (const [endpoint, minute] of endpoints)
        yield { step, window, service, endpoint, minute: this.#minuteParts.encode(minute) };
  }

  /** At most OPEN_MINUTES_MOST minutes, and what is unsent. */
  encode(): Buffer {
    const writer = new ByteWriter();
    writer.uint(STATE_VERSION);
    writer.uint(this.#watermark);
    writer.uint(this.#until + 1);
    writer.uint(this.#number);
    writer.boolean(this.#idle);
    const open: EmittedPart[] = [];
    for (const one of this.#open.values()) for (const part of this.#partsOf(one)) open.push(part);
    writer.uint(open.length);
    for (const part of open.sort(inOrderOfParts)) writePart(writer, part);
    writer.uint(this.#unsent.length);
    for (const emission of this.#unsent) writeEmission(writer, emission);
    return writer.take();
  }

  #decode(saved: Buffer): void {
    const reader = new ByteReader(saved);
    const version = reader.uint();
    if (version !== STATE_VERSION)
      throw new Error(
        `the state of the pre-aggregation has version ${version}, expected is ${STATE_VERSION}: minutes under way are counted anew`,
      );
    this.#watermark = reader.uint();
    this.#until = reader.uint() - 1;
    this.#number = reader.uint();
    this.#idle = reader.boolean();
    for (let left = reader.count(5); left > 0; left--) {
      const { step, window, service, endpoint, minute: bytes } = readPart(reader);
      const { minute, dropped } = this.#minuteParts.decode(bytes);
      this.droppedParts += dropped;
      this.#keep(this.#openWindow(step, window), service, endpoint, minute);
    }
    for (let left = reader.count(6); left > 0; left--) this.#unsent.push(readEmission(reader));
    reader.expectEnd();
  }
}
