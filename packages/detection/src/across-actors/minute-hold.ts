import { ByteReader } from '../codec/byte-reader.ts';
import { ByteWriter } from '../codec/byte-writer.ts';
import { registry } from '../registry.ts';
import {
  inOrderOfParts,
  readPart,
  readUntil,
  writePart,
  type EmittedPart,
  type Emission,
} from './emission.ts';
import { MinuteParts, type AcrossActorsDetector, type EndpointMinute } from './endpoint-minute.ts';
import { HELD_MINUTES_MOST } from './limits.ts';

/** A window of an endpoint as all partitions together saw it. */
export interface WholeMinute {
  /** Counts ENDPOINT_WINDOW_MS since the epoch. */
  window: number;
  service: string;
  endpoint: string;
  minute: EndpointMinute;
}

/** Windows to be judged now, in order of window, service and endpoint. */
export interface ReadyStep {
  step: number;
  minutes: WholeMinute[];
}

interface Source {
  number: number;
  until: number;
  idle: boolean;
}

/** Raise it when states that were written before can no longer be read. */
const STATE_VERSION = 1;

/**
 * Puts together what the partitions of `api-calls` sent about the endpoints of one partition of `aggregates`, and gives a step
 * out when every source has come that far: so what is judged, and in which order, depends neither on how the sources'
 * emissions interleave nor on repeats.
 */
export class MinuteHold {
  readonly #sourceCount: number;
  readonly #minuteParts: MinuteParts;
  readonly #sources = new Map<number, Source>();
  /** Held windows by step; each by window, service and endpoint. */
  readonly #steps = new Map<number, Map<string, WholeMinute>>();
  /** Steps that differ from the last checkpoint: held ones that changed, and ones that are gone. */
  readonly #changed = new Set<number>();
  #held = 0;
  /** Every step up to this was given out. */
  #judged = -1;
  /** Emissions that came again. */
  repeats = 0;
  /** Windows given out before every source had come so far, because too many were held. */
  forced = 0;
  /** Parts of minutes that were dropped, as their detector or version is unknown here. */
  droppedParts = 0;

  /** `sourceCount`: partitions of `api-calls`. */
  constructor(sourceCount: number, detectors: readonly AcrossActorsDetector[] = registry) {
    this.#sourceCount = sourceCount;
    this.#minuteParts = new MinuteParts(detectors);
  }

  /** Newest step given out; -1 if none was. */
  get judged(): number {
    return this.#judged;
  }

  get held(): number {
    return this.#held;
  }

  /** Sources that hold the others back: those that were never heard of, or stand where no other source stands any more. */
  get waitingFor(): number[] {
    const newest = Math.max(-1, ...[...this.#sources.values()].map((source) => source.until));
    const waiting: number[] = [];
    for (let from = 0; from < this.#sourceCount; from++) {
      const source = this.#sources.get(from);
      if (!source || (!source.idle && source.until < newest - 1)) waiting.push(from);
    }
    return waiting;
  }

  /** Takes an emission; gives the steps out that it completes, oldest first. Throws if a minute in it cannot be read. */
  take({ from, number, until, idle, parts }: Emission): ReadyStep[] {
    if (number <= (this.#sources.get(from)?.number ?? 0)) {
      this.repeats++;
      return [];
    }
    // All is read before anything is changed: a record that cannot be read must leave nothing behind.
    const read = parts.map((part) => this.#read(part));
    this.#sources.set(from, { number, until, idle });
    // A part whose step was given out already (its source had been idle) is judged with the next one.
    for (const { step, whole } of read) this.#add(Math.max(step, this.#judged + 1), whole);

    const ready = this.#giveOut(this.#reached());
    while (this.#held > HELD_MINUTES_MOST) {
      const oldest = Math.min(...this.#steps.keys());
      this.forced += this.#steps.get(oldest)!.size;
      ready.push(...this.#giveOut(oldest));
    }
    return ready;
  }

  /**
   * Does not wait for a source any longer, until it sends something again: its parts of steps that were given out by then are judged
   * with the next one. Gives the steps out that only this source held back.
   */
  passOver(from: number): ReadyStep[] {
    const { number, until } = this.#sources.get(from) ?? { number: 0, until: -1 };
    this.#sources.set(from, { number, until, idle: true });
    return this.#giveOut(this.#reached());
  }

  /** How far all have come; idle sources do not count, unless all are: then everything was sent. */
  #reached(): number {
    let reached = Infinity;
    let newest = this.#judged;
    for (let from = 0; from < this.#sourceCount; from++) {
      const source = this.#sources.get(from);
      if (!source) return -1;
      newest = Math.max(newest, source.until);
      if (!source.idle) reached = Math.min(reached, source.until);
    }
    return reached === Infinity ? Math.max(newest, ...this.#steps.keys()) : reached;
  }

  #read({ step, window, service, endpoint, minute: bytes }: EmittedPart): {
    step: number;
    whole: WholeMinute;
  } {
    const { minute, dropped } = this.#minuteParts.decode(bytes);
    this.droppedParts += dropped;
    return { step, whole: { window, service, endpoint, minute } };
  }

  #add(step: number, whole: WholeMinute): void {
    let held = this.#steps.get(step);
    if (!held) this.#steps.set(step, (held = new Map<string, WholeMinute>()));
    this.#changed.add(step);
    const key = JSON.stringify([whole.window, whole.service, whole.endpoint]);
    const known = held.get(key);
    if (known) this.#minuteParts.merge(known.minute, whole.minute);
    else {
      held.set(key, whole);
      this.#held++;
    }
  }

  #giveOut(until: number): ReadyStep[] {
    if (until <= this.#judged) return [];
    this.#judged = until;
    const steps = [...this.#steps.keys()].filter((step) => step <= until).sort((a, b) => a - b);
    return steps.map((step) => {
      const minutes = [...this.#steps.get(step)!.values()].sort((a, b) =>
        inOrderOfParts({ step, ...a }, { step, ...b }),
      );
      this.#steps.delete(step);
      this.#changed.add(step);
      this.#held -= minutes.length;
      return { step, minutes };
    });
  }

  /** Where the sources stand, and which steps are held; what is held of the steps is in `changedSteps`. */
  encode(): Buffer {
    const writer = new ByteWriter();
    writer.uint(STATE_VERSION);
    writer.uint(this.#judged + 1);
    writer.uint(this.#sources.size);
    for (const [from, { number, until, idle }] of [...this.#sources].sort((a, b) => a[0] - b[0])) {
      writer.uint(from);
      writer.uint(number);
      writer.uint(until + 1);
      writer.boolean(idle);
    }
    writer.sortedUints([...this.#steps.keys()].sort((a, b) => a - b));
    return writer.take();
  }

  /** Steps changed since `saved`, each with what a checkpoint must hold; null: nothing any more. */
  changedSteps(): Map<number, Buffer | null> {
    const changes = new Map<number, Buffer | null>();
    for (const step of this.#changed) {
      const held = this.#steps.get(step);
      changes.set(step, held ? this.#encodeStep(step, [...held.values()]) : null);
    }
    return changes;
  }

  #encodeStep(step: number, held: readonly WholeMinute[]): Buffer {
    const writer = new ByteWriter();
    writer.uint(STATE_VERSION);
    writer.uint(held.length);
    for (const { minute, ...of } of held)
      writePart(writer, { step, ...of, minute: this.#minuteParts.encode(minute) });
    return writer.take();
  }

  /** A checkpoint has what `encode` and `changedSteps` gave. */
  saved(): void {
    this.#changed.clear();
  }

  /** Takes up what `encode` gave; returns the steps that were held, to be restored one by one. Throws on any other bytes. */
  restore(saved: Buffer): number[] {
    const reader = readerOf(saved);
    const judged = readUntil(reader);
    const sources: [from: number, Source][] = [];
    for (let left = reader.count(4); left > 0; left--)
      sources.push([
        reader.uint(),
        { number: reader.uint(), until: readUntil(reader), idle: reader.boolean() },
      ]);
    const steps = reader.sortedUints();
    reader.expectEnd();
    this.#judged = judged;
    for (const [from, source] of sources) this.#sources.set(from, source);
    return steps;
  }

  /** Takes up a step that `changedSteps` gave. Throws on any other bytes, and then holds nothing of them. */
  restoreStep(step: number, saved: Buffer): void {
    const reader = readerOf(saved);
    const minutes: WholeMinute[] = [];
    for (let left = reader.count(5); left > 0; left--) minutes.push(this.#read(readPart(reader)).whole);
    reader.expectEnd();
    const isChanged = this.#changed.has(step);
    for (const whole of minutes) this.#add(step, whole);
    if (!isChanged) this.#changed.delete(step);
  }
}

function readerOf(saved: Buffer): ByteReader {
  const reader = new ByteReader(saved);
  const version = reader.uint();
  if (version !== STATE_VERSION)
    throw new Error(`the state of the held minutes has version ${version}, expected is ${STATE_VERSION}`);
  return reader;
}
