import { HELD_MINUTES_MOST } from './limits.ts';
import {
  decodeMinute,
  encodeMinute,
  mergeMinute,
  type EncodedMinute,
  type EndpointMinute,
} from './endpoint-minute.ts';
import type { Emission } from './pre-aggregator.ts';

/** A window of an endpoint as all partitions together saw it. */
export interface WholeMinute {
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

export type EncodedHold = [
  judged: number,
  sources: [from: number, number: number, until: number, idle: boolean][],
];
export type EncodedStep = [window: number, service: string, endpoint: string, minute: EncodedMinute][];

/**
 * Puts together what the partitions of `api-calls` sent about the endpoints of one partition of `aggregates`, and gives a step
 * out when every source has come that far: so what is judged, and in which order, depends neither on how the sources'
 * emissions interleave nor on repeats.
 */
export class MinuteHold {
  readonly #sourceCount: number;
  readonly #sources = new Map<number, Source>();
  /** Held windows by step; each by window, service and endpoint. */
  readonly #steps = new Map<number, Map<string, WholeMinute>>();
  /** Steps held that a checkpoint does not have yet, or still has although they are gone. */
  readonly #changed = new Set<number>();
  #held = 0;
  /** Every step up to this was given out. */
  #judged = -1;
  /** Emissions that came again. */
  repeats = 0;
  /** Windows given out before every source had come so far, because too many were held. */
  forced = 0;

  /** `sourceCount`: partitions of `api-calls`. */
  constructor(sourceCount: number) {
    this.#sourceCount = sourceCount;
  }

  /** Newest step given out; -1 if none was. */
  get judged(): number {
    return this.#judged;
  }

  get held(): number {
    return this.#held;
  }

  /** Sources that hold the others back: those that were never heard of, or stand where nobody else stands any more. */
  get waitingFor(): number[] {
    const newest = Math.max(-1, ...[...this.#sources.values()].map((source) => source.until));
    const waiting: number[] = [];
    for (let from = 0; from < this.#sourceCount; from++) {
      const source = this.#sources.get(from);
      if (!source || (!source.idle && source.until < newest - 1)) waiting.push(from);
    }
    return waiting;
  }

  /** Takes an emission; gives the steps out that it completes, oldest first. */
  take(emission: Emission): ReadyStep[] {
    const { from, number, until, idle, parts } = emission;
    if (number <= (this.#sources.get(from)?.number ?? 0)) {
      this.repeats++;
      return [];
    }
    // All is read before anything is changed: a record that cannot be read must leave nothing behind.
    const read = parts.map(
      ([step, window, service, endpoint, minute]) =>
        [step, { window, service, endpoint, minute: decodeMinute(minute) }] as const,
    );
    this.#sources.set(from, { number, until, idle });
    // What comes after its step was given out (its source had been idle) is judged with the next one.
    for (const [step, part] of read) this.#add(Math.max(step, this.#judged + 1), part);

    const ready = this.#giveOut(this.#reached());
    while (this.#held > HELD_MINUTES_MOST) {
      const oldest = Math.min(...this.#steps.keys());
      this.forced += this.#steps.get(oldest)!.size;
      ready.push(...this.#giveOut(oldest));
    }
    return ready;
  }

  /**
   * Does not wait for a source any longer, until it says something again: what it then says of steps that were given out is judged
   * with the next one. Gives the steps out that only it held back.
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

  #add(step: number, part: WholeMinute): void {
    let held = this.#steps.get(step);
    if (!held) this.#steps.set(step, (held = new Map<string, WholeMinute>()));
    this.#changed.add(step);
    const key = JSON.stringify([part.window, part.service, part.endpoint]);
    const known = held.get(key);
    if (known) mergeMinute(known.minute, part.minute);
    else {
      held.set(key, part);
      this.#held++;
    }
  }

  #giveOut(until: number): ReadyStep[] {
    if (until <= this.#judged) return [];
    this.#judged = until;
    const steps = [...this.#steps.keys()].filter((step) => step <= until).sort((a, b) => a - b);
    return steps.map((step) => {
      const minutes = [...this.#steps.get(step)!.values()].sort(
        (a, b) => a.window - b.window || compare(a.service, b.service) || compare(a.endpoint, b.endpoint),
      );
      this.#steps.delete(step);
      this.#changed.add(step);
      this.#held -= minutes.length;
      return { step, minutes };
    });
  }

  /** Where the sources stand, and which steps are held. */
  encode(): EncodedHold {
    return [
      this.#judged,
      [...this.#sources]
        .sort((a, b) => a[0] - b[0])
        .map(([from, { number, until, idle }]) => [from, number, until, idle]),
    ];
  }

  get heldSteps(): number[] {
    return [...this.#steps.keys()].sort((a, b) => a - b);
  }

  /** Steps changed since `saved`, each with what a checkpoint must hold; null: nothing any more. */
  changedSteps(): Map<number, EncodedStep | null> {
    const changes = new Map<number, EncodedStep | null>();
    for (const step of this.#changed) {
      const held = this.#steps.get(step);
      changes.set(
        step,
        held
          ? [...held.values()].map(({ window, service, endpoint, minute }) => [
              window,
              service,
              endpoint,
              encodeMinute(minute),
            ])
          : null,
      );
    }
    return changes;
  }

  /** A checkpoint has what `changedSteps` gave. */
  saved(): void {
    this.#changed.clear();
  }

  /** Takes up what a checkpoint holds. */
  restore([judged, sources]: EncodedHold, steps: Iterable<[step: number, held: EncodedStep]>): void {
    this.#judged = judged;
    for (const [from, number, until, idle] of sources) this.#sources.set(from, { number, until, idle });
    for (const [step, held] of steps)
      for (const [window, service, endpoint, minute] of held)
        this.#add(step, { window, service, endpoint, minute: decodeMinute(minute) });
    this.#changed.clear();
  }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
