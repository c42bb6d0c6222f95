import type { ClosedEarly } from './alerts/early-close.ts';
import { ByteReader } from './codec/byte-reader.ts';
import { ByteWriter } from './codec/byte-writer.ts';
import type { ActorProfile, ActorProfileKind } from './detector.ts';
import { decodeSharedAddress, encodeSharedAddress, type SharedAddress } from './places/shared-address.ts';

/** Version of an actor's header; bytes of another version are no state. Sections have versions of their own. */
const ACTOR_VERSION = 5;

/** What is kept per actor: one section per profile. Opaque to the caller of `Detection`; mutated by its `fold` and `close`. */
export interface ActorState {
  /** Event time of the newest call, counted or not. */
  lastSeenAt: number;
  /** Only for private addresses. */
  shared: SharedAddress | undefined;
  closedEarly: ClosedEarly | undefined;
  /** By position of the profile; undefined if its section is not decoded, or the actor's calls have not concerned it yet. */
  readonly parts: unknown[];
  /** What the sections that are not decoded lie in; undefined if there are none. */
  bytes: Buffer | undefined;
  /** By position of the profile: where its section begins in `bytes`, 0 if there is none or it is decoded. */
  readonly starts: number[];
  readonly ends: number[];
}

/** A profile as configured, with the kind that it is of. */
export interface ConfiguredProfile {
  readonly kind: ActorProfileKind;
  readonly profile: ActorProfile;
}

/** Takes what could not be read and is learnt anew: a section of an actor's state, and why. */
export type OnRelearn = (what: string, problem: string) => void;

/** Problems are reported once each, as every actor may have the same; so many of them are remembered. */
const PROBLEMS_MOST = 64;

/**
 * Reads and writes the states of actors. A section is decoded when its profile needs it; one that nobody needed is written back as the
 * bytes it came as. Sections of profiles that are switched off are dropped.
 */
export class ActorCodec {
  readonly #profiles: readonly ConfiguredProfile[];
  /** Position in `#profiles` by id of the section. */
  readonly #positions: (number | undefined)[] = [];
  readonly #writer = new ByteWriter();
  readonly #onRelearn: OnRelearn;
  readonly #problems = new Set<string>();

  constructor(profiles: readonly ConfiguredProfile[], onRelearn: OnRelearn) {
    this.#profiles = profiles;
    this.#onRelearn = onRelearn;
    for (const [at, { kind }] of profiles.entries()) this.#positions[kind.id] = at;
  }

  create(): ActorState {
    const count = this.#profiles.length;
    return {
      lastSeenAt: 0,
      shared: undefined,
      closedEarly: undefined,
      parts: new Array<unknown>(count).fill(undefined),
      bytes: undefined,
      starts: new Array<number>(count).fill(0),
      ends: new Array<number>(count).fill(0),
    };
  }

  /** Reads the header and finds the sections. Throws on bytes that `encode` did not write. */
  decode(bytes: Buffer): ActorState {
    const reader = new ByteReader(bytes);
    const version = reader.uint();
    if (version !== ACTOR_VERSION)
      throw new Error(`expected version ${ACTOR_VERSION} of an actor's state, got ${version}`);
    const state = this.create();
    state.lastSeenAt = reader.uint();
    const [isShared, isClosedEarly] = reader.flags(2);
    if (isShared) state.shared = decodeSharedAddress(reader);
    if (isClosedEarly) state.closedEarly = decodeClosedEarly(reader);
    while (reader.left > 0) {
      const start = bytes.length - reader.left;
      const at = this.#positions[reader.uint()];
      reader.uint();
      reader.skip(reader.uint());
      if (at === undefined) continue;
      state.bytes = bytes;
      state.starts[at] = start;
      state.ends[at] = bytes.length - reader.left;
    }
    return state;
  }

  /** At most 560 bytes for an idle actor with one service. */
  encode(state: ActorState): Buffer {
    const writer = this.#writer;
    writer.clear();
    writer.uint(ACTOR_VERSION);
    writer.uint(state.lastSeenAt);
    writer.flags(state.shared !== undefined, state.closedEarly !== undefined);
    if (state.shared) encodeSharedAddress(state.shared, writer);
    if (state.closedEarly) encodeClosedEarly(state.closedEarly, writer);
    for (let at = 0; at < this.#profiles.length; at++) {
      const part = state.parts[at];
      const start = state.starts[at]!;
      if (part !== undefined) this.#encodeSection(at, part);
      else if (start > 0) writer.raw(state.bytes!.subarray(start, state.ends[at]));
    }
    return writer.take();
  }

  #encodeSection(at: number, part: unknown): void {
    const writer = this.#writer;
    const { kind, profile } = this.#profiles[at]!;
    writer.uint(kind.id);
    writer.uint(2 * kind.version + (profile.closesAt(part) === undefined ? 0 : 1));
    const start = writer.beginSection();
    profile.encode(part, writer);
    writer.endSection(start);
  }

  /** Whether a section that is not decoded has an open episode. */
  isOpen(state: ActorState, at: number): boolean {
    // Ids take one byte.
    return state.starts[at]! > 0 && (state.bytes![state.starts[at]! + 1]! & 1) === 1;
  }

  /** The profile's part of the state, decoded if it is not yet; undefined if there is none or it cannot be read. */
  part(state: ActorState, at: number): unknown {
    const known = state.parts[at];
    if (known !== undefined || state.starts[at] === 0) return known;
    const { kind, profile } = this.#profiles[at]!;
    const reader = new ByteReader(state.bytes!, state.starts[at], state.ends[at]);
    state.starts[at] = 0;
    reader.uint();
    const version = reader.uint() >> 1;
    try {
      if (version !== kind.version) throw new Error(`expected version ${kind.version}, got ${version}`);
      const section = reader.section();
      const part = profile.decode(section);
      section.expectEnd();
      return (state.parts[at] = part);
    } catch (error) {
      this.#report(`section ${kind.id} of actors`, (error as Error).message);
      return undefined;
    }
  }

  #report(what: string, problem: string): void {
    const both = `${what}: ${problem}`;
    if (this.#problems.has(both) || this.#problems.size >= PROBLEMS_MOST) return;
    this.#problems.add(both);
    this.#onRelearn(what, problem);
  }
}

function encodeClosedEarly(closedEarly: ClosedEarly, writer: ByteWriter): void {
  writer.uint(closedEarly.length);
  for (const [id, revision] of closedEarly) {
    writer.text(id);
    writer.uint(revision);
  }
}

function decodeClosedEarly(reader: ByteReader): ClosedEarly {
  const closedEarly: ClosedEarly = [];
  for (let left = reader.count(); left > 0; left--) closedEarly.push([reader.text(), reader.uint()]);
  return closedEarly;
}
