import type { Alert } from '@tripline/model';
import { dryRunTypesOf, markDryRuns } from '../alerts/dry-run.ts';
import { addClosedEarly, continueRevisions, type ClosedEarly } from '../alerts/early-close.ts';
import { ByteReader } from '../codec/byte-reader.ts';
import { ByteWriter } from '../codec/byte-writer.ts';
import type { Detector } from '../detector.ts';
import { registry, settingsOf } from '../registry.ts';
import type { DetectorSettings } from '../settings.ts';
import { endpointId, type EndpointName } from './endpoint-id.ts';
import { MinuteParts } from './endpoint-minute.ts';
import { ENDPOINT_WINDOW_MS } from './limits.ts';
import type { WholeMinute } from './minute-hold.ts';
import type { EndpointJudge, JudgedMinute, MinutePartKind } from './minute-part.ts';

/** What is kept per endpoint. Opaque to the caller; changed by `judge` and `close`. */
export interface EndpointState extends EndpointName {
  /** One state per detector, in the order of their ids; undefined where a detector has none. */
  readonly states: unknown[];
  closedEarly?: ClosedEarly;
}

/**
 * All detectors across actors: pure functions of state and minute, by event time only. The alerts depend on the minutes and their
 * order alone, wherever the states are encoded in between.
 */
export interface EndpointDetection {
  /** False if there is nothing to look for: then nothing need be aggregated. */
  readonly enabled: boolean;
  stateKey(of: EndpointName): string;
  /** Whether the endpoint must get a state because of this minute, if it has none. If not, the minute may be skipped. */
  isOfNote(minute: WholeMinute): boolean;
  /** A state for an endpoint that has none. */
  create(of: EndpointName): EndpointState;
  /**
   * State from its bytes. A detector's state that cannot be read (another version, damage) is dropped, reported to `onDropped` with the
   * reason, and begun anew; the others stay. Throws if nothing can be read.
   */
  decode(bytes: Buffer, onDropped: (problem: string) => void): EndpointState;
  /**
   * About 0.5 KB for an endpoint that is quiet, 20 KB more during episodes, and about 20 bytes for each account that logs in there.
   */
  encode(state: EndpointState): Buffer;
  /** Judges a minute in its step and changes the state; returns the alert revisions to publish now, oldest first. */
  judge(state: EndpointState, whole: WholeMinute, step: number): Alert[];
  /** Ends the episodes that are over at event time `nowMs`. The alerts are the same however late it is called. */
  close(state: EndpointState, nowMs: number): Alert[];
  /** Ends all episodes of the endpoint before their time: for when more are open than can be kept. */
  closeEarly(state: EndpointState): Alert[];
  /** Event time from which `close` has something to do; undefined if no episode is open. */
  closesAt(state: EndpointState): number | undefined;
}

/** `config` must have passed the schema of the detectors' settings, by default `detectionConfigSchema`. */
export function createEndpointDetection(
  config: Readonly<Record<string, DetectorSettings>>,
  detectors: readonly Detector[] = registry,
): EndpointDetection {
  const { kinds } = new MinuteParts(detectors);
  const settings = settingsOf(config, detectors);
  const judges = kinds.map((kind) => kind.createJudge(settings));
  const states = new StateCodec(kinds, judges);
  const dryRunTypes = dryRunTypesOf(detectors, settings);

  /** Collects what the judges put out, in order. */
  const collect = (state: EndpointState, work: (alert: (alert: Alert) => void) => void): Alert[] => {
    const alerts: Alert[] = [];
    work((alert) => alerts.push(alert));
    return continueRevisions(state.closedEarly, markDryRuns(alerts, dryRunTypes));
  };
  const closeAll = (state: EndpointState, nowMs: number): Alert[] =>
    collect(state, (alert) => {
      for (const [at, judge] of judges.entries())
        if (state.states[at] !== undefined) judge.close(state.states[at], state, nowMs, { alert });
    });

  return {
    enabled: judges.some(({ enabled }) => enabled),
    stateKey: (of) => `e:${endpointId(of)}`,
    isOfNote(whole) {
      const minute = judgedMinute(kinds, whole, whole.window, []);
      return judges.some((judge, at) => isOfNote(judge, whole.minute.parts[at], minute));
    },
    create: ({ service, endpoint }) => ({ service, endpoint, states: kinds.map(() => undefined) }),
    decode: (bytes, onDropped) => states.decode(bytes, onDropped),
    encode: (state) => states.encode(state),
    judge: (state, whole, step) =>
      collect(state, (alert) => {
        const minute = judgedMinute(kinds, whole, step, state.states);
        const { parts } = whole.minute;
        for (const [at, judge] of judges.entries()) {
          if (state.states[at] === undefined && isOfNote(judge, parts[at], minute))
            state.states[at] = judge.newState();
          if (state.states[at] !== undefined) judge.judge(state.states[at], parts[at], minute, { alert });
        }
      }),
    close: closeAll,
    closeEarly(state) {
      const alerts = closeAll(state, Infinity);
      if (alerts.length > 0) state.closedEarly = addClosedEarly(state.closedEarly, alerts);
      return alerts;
    },
    closesAt(state) {
      let earliest: number | undefined;
      for (const [at, judge] of judges.entries()) {
        const closesAt = state.states[at] === undefined ? undefined : judge.closesAt(state.states[at]);
        if (closesAt !== undefined && (earliest === undefined || closesAt < earliest)) earliest = closesAt;
      }
      return earliest;
    },
  };
}

function isOfNote(judge: EndpointJudge, part: unknown, minute: JudgedMinute): boolean {
  return part !== undefined && judge.isOfNote(part, minute);
}

function judgedMinute(
  kinds: readonly MinutePartKind[],
  { window, service, endpoint, minute: { calls, parts } }: WholeMinute,
  step: number,
  states: readonly unknown[],
): JudgedMinute {
  return {
    service,
    endpoint,
    startsAt: window * ENDPOINT_WINDOW_MS,
    judgedAt: (step + 1) * ENDPOINT_WINDOW_MS,
    calls,
    of<Part, State>(kind: MinutePartKind<Part, State>) {
      const at = kinds.indexOf(kind);
      return { part: parts[at] as Part | undefined, state: states[at] as State | undefined };
    },
  };
}

/** Raise it when the bytes around the detectors' states change. */
const STATE_VERSION = 7;

/** An endpoint's state as bytes: each detector's own in a section with its id and version. */
class StateCodec {
  readonly #kinds: readonly MinutePartKind[];
  readonly #judges: readonly EndpointJudge[];
  readonly #writer = new ByteWriter();

  constructor(kinds: readonly MinutePartKind[], judges: readonly EndpointJudge[]) {
    this.#kinds = kinds;
    this.#judges = judges;
  }

  encode({ service, endpoint, states, closedEarly = [] }: EndpointState): Buffer {
    const writer = this.#writer;
    writer.clear();
    writer.uint(STATE_VERSION);
    writer.text(service);
    writer.text(endpoint);
    writer.uint(closedEarly.length);
    for (const [id, revision] of closedEarly) {
      writer.text(id);
      writer.uint(revision);
    }
    writer.uint(states.filter((state) => state !== undefined).length);
    for (const [at, judge] of this.#judges.entries()) {
      const state = states[at];
      if (state === undefined) continue;
      writer.uint(this.#kinds[at]!.id);
      writer.uint(this.#kinds[at]!.stateVersion);
      const start = writer.beginSection();
      judge.encode(state, writer);
      writer.endSection(start);
    }
    return writer.take();
  }

  decode(bytes: Buffer, onDropped: (problem: string) => void): EndpointState {
    const reader = new ByteReader(bytes);
    const version = reader.uint();
    if (version !== STATE_VERSION)
      throw new Error(
        `the state of an endpoint has version ${version}, expected is ${STATE_VERSION}: the endpoint is learnt anew`,
      );
    const service = reader.text();
    const endpoint = reader.text();
    const closedEarly: ClosedEarly = [];
    for (let left = reader.count(2); left > 0; left--) closedEarly.push([reader.text(), reader.uint()]);
    const states: unknown[] = this.#kinds.map(() => undefined);
    for (let left = reader.count(3); left > 0; left--) this.#decodeOne(reader, states, onDropped);
    reader.expectEnd();
    return { service, endpoint, states, ...(closedEarly.length > 0 ? { closedEarly } : {}) };
  }

  #decodeOne(reader: ByteReader, states: unknown[], onDropped: (problem: string) => void): void {
    const id = reader.uint();
    const version = reader.uint();
    const section = reader.section();
    const at = this.#kinds.findIndex((kind) => kind.id === id);
    const kind = this.#kinds[at];
    if (!kind) {
      onDropped(`it has the state of detector ${id}, which is unknown here: it is dropped`);
      return;
    }
    if (kind.stateVersion !== version) {
      onDropped(
        `the state of detector ${id} has version ${version}, expected is ${kind.stateVersion}: it is learnt anew`,
      );
      return;
    }
    try {
      states[at] = this.#judges[at]!.decode(section);
      section.expectEnd();
    } catch (error) {
      states[at] = undefined;
      onDropped(
        `the state of detector ${id} cannot be read (${(error as Error).message}): it is learnt anew`,
      );
    }
  }
}
