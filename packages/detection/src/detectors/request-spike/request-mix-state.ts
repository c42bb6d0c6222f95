import type { AlertActor } from '@tripline/model';
import { decodeAlertActor, encodeAlertActor } from '../../alerts/alert-actor.ts';
import { decodeActorEpisode, encodeActorEpisode, type ActorEpisode } from '../../alerts/episode.ts';
import { decodeOptionalTally, encodeOptionalTally, type Tally } from '../../alerts/tally.ts';
import type { ByteReader } from '../../codec/byte-reader.ts';
import type { ByteWriter } from '../../codec/byte-writer.ts';

/** What is learnt of one endpoint, and its calls in the window. All integers; logarithms are 1,000 ln(1 + x). */
export interface Usage {
  hash: number;
  /** Share of the actor's calls, in ten-thousandths. */
  share: number;
  /** Highest count per window so far, logarithm; fades. */
  top: number;
  /** Count of the window learnt last, logarithm: part of `top` only when the window after it was harmless, too. */
  latest: number;
  /** Bytes and ms per successful call, logarithms. */
  bytes: number;
  latency: number;
  /** Windows in which it was used, to SEEN_MOST. */
  seen: number;
  /** Calls in the current window. */
  calls: number;
}

/**
 * `endpoint`: calls gather on one endpoint. `cost`: the same, and its calls take far longer than the actor's others.
 * `bytes`: responses are far larger than usual on the same endpoints.
 */
export type Kind = 'endpoint' | 'cost' | 'bytes';

export interface MixFinding {
  kind: Kind;
  /** Of the endpoint; 0 if it is about all. */
  hash: number;
  /** Calls per 10 min, or bytes per call as a multiple of what is usual. */
  value: number;
  expected: number;
  high: number;
  /** Share of the endpoint's calls, in ten-thousandths, now and usually. */
  share: number;
  usualShare: number;
  /** How many times as long as usual successful calls took on the same endpoints. */
  latencyFactor: number;
}

export interface Episode extends ActorEpisode {
  worst: MixFinding;
}

/** What an actor's calls consist of: of its heaviest endpoints the share, the size and the duration. */
export interface MixState {
  /** Number (since the epoch) of the current window. */
  window: number;
  /** Calls in it, those to endpoints that are kept or not. */
  calls: number;
  /** Successful calls in it to endpoints known well enough, and the sums of how far they are above the learnt levels. */
  sized: number;
  bytesExcess: number;
  latencyExcess: number;
  /** A request spike of the same actor was open: the window is the spike's business. */
  inSpike: boolean;
  /** Windows learnt. */
  learnt: number;
  /** Exponentially weighted mean of |mean excess of bytes| per window. */
  bytesDeviation: number;
  usages: Usage[];
  /** Of the calls that made the window noteworthy. */
  tally: Tally | null;
  /** Only beside a tally: whose they are and when the newest began. */
  actor: AlertActor | null;
  newestMs: number;
  episode: Episode | null;
}

export function newMix(): MixState {
  return {
    window: -1,
    calls: 0,
    sized: 0,
    bytesExcess: 0,
    latencyExcess: 0,
    inSpike: false,
    learnt: 0,
    bytesDeviation: 0,
    usages: [],
    tally: null,
    actor: null,
    newestMs: 0,
    episode: null,
  };
}

const kinds: readonly Kind[] = ['endpoint', 'cost', 'bytes'];

export function encodeMix(state: MixState, writer: ByteWriter): void {
  const { usages, tally, actor, episode } = state;
  writer.uint(state.window + 1);
  writer.uint(state.calls);
  writer.uint(state.sized);
  writer.int(state.bytesExcess);
  writer.int(state.latencyExcess);
  writer.uint(state.learnt);
  writer.uint(state.bytesDeviation);
  writer.flags(state.inSpike, actor !== null, episode !== null);
  writer.uint(usages.length);
  for (const usage of usages) {
    writer.hash24(usage.hash);
    writer.uint(usage.share);
    writer.uint(usage.top);
    writer.uint(usage.latest);
    writer.uint(usage.bytes);
    writer.uint(usage.latency);
    writer.uint(usage.seen);
    writer.uint(usage.calls);
  }
  encodeOptionalTally(tally, writer);
  if (actor) {
    encodeAlertActor(actor, writer);
    writer.uint(state.newestMs);
  }
  if (!episode) return;
  encodeActorEpisode(episode, writer);
  encodeFinding(episode.worst, writer);
}

export function decodeMix(reader: ByteReader): MixState {
  const state = newMix();
  state.window = reader.uint() - 1;
  state.calls = reader.uint();
  state.sized = reader.uint();
  state.bytesExcess = reader.int();
  state.latencyExcess = reader.int();
  state.learnt = reader.uint();
  state.bytesDeviation = reader.uint();
  const [inSpike = false, hasActor, isOpen] = reader.flags(3);
  state.inSpike = inSpike;
  for (let left = reader.count(10); left > 0; left--)
    state.usages.push({
      hash: reader.hash24(),
      share: reader.uint(),
      top: reader.uint(),
      latest: reader.uint(),
      bytes: reader.uint(),
      latency: reader.uint(),
      seen: reader.uint(),
      calls: reader.uint(),
    });
  state.tally = decodeOptionalTally(reader);
  if (hasActor) {
    state.actor = decodeAlertActor(reader);
    state.newestMs = reader.uint();
  }
  if (isOpen) state.episode = { ...decodeActorEpisode(reader), worst: decodeFinding(reader) };
  return state;
}

function encodeFinding(finding: MixFinding, writer: ByteWriter): void {
  writer.uint(kinds.indexOf(finding.kind));
  writer.hash24(finding.hash);
  writer.number(finding.value);
  writer.number(finding.expected);
  writer.number(finding.high);
  writer.uint(finding.share);
  writer.uint(finding.usualShare);
  writer.number(finding.latencyFactor);
}

function decodeFinding(reader: ByteReader): MixFinding {
  const kind = kinds[reader.uint()];
  if (kind === undefined) throw new Error('the state has an unknown kind of request mix');
  return {
    kind,
    hash: reader.hash24(),
    value: reader.number(),
    expected: reader.number(),
    high: reader.number(),
    share: reader.uint(),
    usualShare: reader.uint(),
    latencyFactor: reader.number(),
  };
}
