import type { Alert, AlertType, ApiCall } from '@tripline/model';
import { ByteReader } from '../codec/byte-reader.ts';
import { ByteWriter } from '../codec/byte-writer.ts';
import type { Detector } from '../detector.ts';
import type { MinutePartKind } from './minute-part.ts';

/** What of a detector concerns minutes of endpoints. */
export type AcrossActorsDetector = Pick<Detector, 'alertType' | 'acrossActors'>;

/**
 * What happened on one endpoint within a minute of event time, as one partition of `api-calls` saw it, or several together. What is
 * in the parts is known to their detectors only.
 */
export interface EndpointMinute {
  /** All calls but those that Kong refused to a known consumer (our own blocks look like that). */
  calls: number;
  /** In the order of `MinuteParts.kinds`; undefined where a detector has nothing to keep. */
  readonly parts: unknown[];
}

/** A minute that was read, and how many of its parts were dropped, as their detector or version is unknown here. */
export interface ReadMinute {
  minute: EndpointMinute;
  dropped: number;
}

/** Makes, merges, writes and reads minutes of the parts that the given detectors own. */
export class MinuteParts {
  /** In the order of their ids. */
  readonly kinds: readonly MinutePartKind[];
  readonly #typeOf = new Map<MinutePartKind, AlertType>();
  readonly #writer = new ByteWriter();

  constructor(detectors: readonly AcrossActorsDetector[]) {
    for (const { alertType, acrossActors } of detectors)
      if (acrossActors) this.#typeOf.set(acrossActors, alertType);
    this.kinds = [...this.#typeOf.keys()].sort((a, b) => a.id - b.id);
  }

  newMinute(): EndpointMinute {
    return { calls: 0, parts: this.kinds.map(() => undefined) };
  }

  /** The function that adds calls to minutes. */
  createCounter(): (minute: EndpointMinute, call: ApiCall) => void {
    const counters = this.kinds.map((kind) => kind.createCounter());
    return (minute, call) => {
      minute.calls++;
      const { parts } = minute;
      for (let at = 0; at < counters.length; at++) parts[at] = counters[at]!.add(parts[at], call);
    };
  }

  /** Adds an alert about one address to the part of its type, as `MinutePartKind.addFinding`. False if no detector takes it. */
  addFinding({ parts }: EndpointMinute, alert: Alert): boolean {
    const at = this.kinds.findIndex((kind) => kind.addFinding && this.#typeOf.get(kind) === alert.type);
    const kind = this.kinds[at];
    if (!kind) return false;
    kind.addFinding?.((parts[at] ??= kind.newPart()), alert);
    return true;
  }

  /** Adds `other` to `minute`. Commutative and associative, as each part is. */
  merge(minute: EndpointMinute, other: EndpointMinute): void {
    minute.calls += other.calls;
    for (const [at, kind] of this.kinds.entries()) {
      const part = other.parts[at];
      if (part !== undefined) kind.merge((minute.parts[at] ??= kind.newPart()), part);
    }
  }

  /** Equal minutes give equal bytes. */
  encode({ calls, parts }: EndpointMinute): Buffer {
    const writer = this.#writer;
    writer.clear();
    writer.uint(calls);
    writer.uint(parts.filter((part) => part !== undefined).length);
    for (const [at, kind] of this.kinds.entries()) {
      const part = parts[at];
      if (part === undefined) continue;
      writer.uint(kind.id);
      writer.uint(kind.partVersion);
      const start = writer.beginSection();
      kind.encode(part, writer);
      writer.endSection(start);
    }
    return writer.take();
  }

  /** Reads foreign bytes. Throws on what is no minute; parts of unknown detectors and versions are dropped and counted. */
  decode(bytes: Buffer): ReadMinute {
    const reader = new ByteReader(bytes);
    const minute = this.newMinute();
    minute.calls = reader.uint();
    let dropped = 0;
    for (let left = reader.count(3); left > 0; left--) {
      const id = reader.uint();
      const version = reader.uint();
      const section = reader.section();
      const at = this.kinds.findIndex((kind) => kind.id === id);
      const kind = this.kinds[at];
      if (kind?.partVersion !== version) {
        dropped++;
        continue;
      }
      minute.parts[at] = kind.decode(section);
      section.expectEnd();
    }
    reader.expectEnd();
    return { minute, dropped };
  }
}
