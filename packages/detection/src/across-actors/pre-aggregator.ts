import type { Alert, ApiCall } from '@tripline/model';
import { LATENESS_MS } from '../baseline/limits.ts';
import { createAsked } from '../detectors/object-enumeration/asked.ts';
import { parseState } from '../codec/state-text.ts';
import {
  ENDPOINT_WINDOW_MS,
  GRACE_MS,
  OPEN_MINUTES_MOST,
  PARTS_PER_EMISSION,
  POOLED_SERVICES_MOST,
} from './limits.ts';
import {
  addReport,
  addToMinute,
  decodeMinute,
  encodeMinute,
  newMinute,
  type EncodedMinute,
  type EndpointMinute,
} from './endpoint-minute.ts';
import { addWalked } from '../detectors/object-enumeration/id-coverage.ts';

/** Stands for the endpoints of a service that were too many to be counted one by one. */
export const OTHER_ENDPOINTS = '*';

/**
 * One window of one endpoint, as one partition of `api-calls` saw it. `step` is the window with which it is judged: the same
 * as `window`, or a later one for calls that came after their window was sent on. Both count ENDPOINT_WINDOW_MS since the
 * epoch.
 */
export type EmittedPart = [
  step: number,
  window: number,
  service: string,
  endpoint: string,
  minute: EncodedMinute,
];

/**
 * What one partition of `api-calls` sends to the partitions of `aggregates`: parts, each to its endpoint's partition, and to
 * all of them how far it has come.
 */
export interface Emission {
  /** The partition of `api-calls`. */
  from: number;
  /** Grows from emission to emission of a source; at least the event time reached, so that it also grows when state was lost. */
  number: number;
  /** Everything of steps up to this has been sent; -1 before the first call. */
  until: number;
  /** No calls are coming: do not wait for this source until it says something without `idle`. */
  idle: boolean;
  parts: EmittedPart[];
}

/** Windows of one step; the endpoints' by service. */
interface OpenWindow {
  step: number;
  window: number;
  services: Map<string, Map<string, EndpointMinute>>;
}

const STATE_VERSION = 1;
type EncodedState = [
  version: number,
  watermark: number,
  until: number,
  number: number,
  idle: boolean,
  open: EmittedPart[],
  unsent: Emission[],
];

/**
 * Counts the calls of one partition of `api-calls` per endpoint and minute of event time, and says what to send on when a
 * minute is over. That depends on the calls and their order only, neither on batches nor on clocks; except for `rest`.
 *
 * What is to be sent stays in the state until the caller has saved it: `encode` into a checkpoint, then publish `unsent`,
 * then `sent`. A crash in between publishes the same emissions again, with the same numbers, and the receiver passes over
 * them.
 */
export class PreAggregator {
  readonly #from: number;
  readonly #asked = createAsked();
  readonly #open = new Map<string, OpenWindow>();
  /** Where the last call went: the next one mostly goes there too. */
  #last: OpenWindow | undefined;
  #minutes = 0;
  #watermark = 0;
  #until = -1;
  #number = 0;
  #idle = false;
  #unsent: Emission[] = [];
  /** Calls that came more than LATENESS_MS behind the newest and count nowhere. */
  late = 0;
  /** Calls of endpoints that were too many, counted under OTHER_ENDPOINTS. */
  pooled = 0;

  /** `from`: the partition. `text`: what `encode` wrote; throws on any other. */
  constructor(from: number, text?: string) {
    this.#from = from;
    if (text !== undefined) this.#decode(text);
  }

  get unsent(): readonly Emission[] {
    return this.#unsent;
  }

  /** Minutes of endpoints that are being counted. */
  get openMinutes(): number {
    return this.#minutes;
  }

  /** Counts a call; a call that `refused` says Kong turned away only moves time on. */
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
    const minute = this.#minuteOf(open, call.service ?? '', call.endpoint);
    addToMinute(minute, call);
    minute.walked = addWalked(minute.walked, call, this.#asked(call));
  }

  /**
   * Passes an open alert about an address on to its endpoint, where it becomes one with those about other addresses. Before the
   * call that it came of is added.
   */
  report(alert: Alert): void {
    const window = Math.floor(alert.lastSeenAt / ENDPOINT_WINDOW_MS);
    const open = this.#openWindow(Math.max(window, this.#until + 1), window);
    addReport(this.#minuteOf(open, alert.service ?? '', alert.endpoint ?? ''), alert);
  }

  #minuteOf(open: OpenWindow, service: string, endpoint: string): EndpointMinute {
    return open.services.get(service)?.get(endpoint) ?? this.#minute(open, service, endpoint);
  }

  /**
   * No calls have come for a while, by the caller's clock: everything is sent, and the receivers need not wait for this
   * partition. The caller checkpoints before it publishes, as always. False if that was said already.
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

  #minute(open: OpenWindow, service: string, endpoint: string): EndpointMinute {
    if (this.#minutes >= OPEN_MINUTES_MOST && endpoint !== OTHER_ENDPOINTS) {
      this.pooled++;
      const known = open.services.has(service) || open.services.size < POOLED_SERVICES_MOST;
      const pool = known ? service : '';
      return open.services.get(pool)?.get(OTHER_ENDPOINTS) ?? this.#minute(open, pool, OTHER_ENDPOINTS);
    }
    let endpoints = open.services.get(service);
    if (!endpoints) open.services.set(service, (endpoints = new Map<string, EndpointMinute>()));
    const minute = newMinute();
    endpoints.set(endpoint, minute);
    this.#minutes++;
    return minute;
  }

  #sendUntil(until: number): void {
    const parts: EmittedPart[] = [];
    for (const [key, open] of this.#open) {
      if (open.step > until) continue;
      this.#open.delete(key);
      if (this.#last === open) this.#last = undefined;
      for (const part of partsOf(open)) parts.push(part);
    }
    this.#minutes -= parts.length;
    parts.sort(inOrder);
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

  /** As JSON: at most OPEN_MINUTES_MOST windows and what is unsent. */
  encode(): string {
    const open: EmittedPart[] = [];
    for (const one of this.#open.values()) for (const part of partsOf(one)) open.push(part);
    const state: EncodedState = [
      STATE_VERSION,
      this.#watermark,
      this.#until,
      this.#number,
      this.#idle,
      open.sort(inOrder),
      this.#unsent,
    ];
    return JSON.stringify(state);
  }

  #decode(text: string): void {
    const state = parseState(text, STATE_VERSION, 'the pre-aggregation') as EncodedState;
    const [, watermark, until, number, idle, open, unsent] = state;
    this.#watermark = watermark;
    this.#until = until;
    this.#number = number;
    this.#idle = idle;
    this.#unsent = unsent;
    for (const [step, window, service, endpoint, minute] of open) {
      const { services } = this.#openWindow(step, window);
      let endpoints = services.get(service);
      if (!endpoints) services.set(service, (endpoints = new Map<string, EndpointMinute>()));
      endpoints.set(endpoint, decodeMinute(minute));
      this.#minutes++;
    }
  }
}

function* partsOf({ step, window, services }: OpenWindow): Generator<EmittedPart> {
  for (const [service, endpoints] of services)
    for (const [endpoint, minute] of endpoints) yield [step, window, service, endpoint, encodeMinute(minute)];
}

/** By step, window, service and endpoint. */
function inOrder(a: EmittedPart, b: EmittedPart): number {
  return a[0] - b[0] || a[1] - b[1] || compare(a[2], b[2]) || compare(a[3], b[3]);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
