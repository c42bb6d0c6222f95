import type { Alert, ApiCall } from '@tripline/model';
import type { ByteReader } from '../codec/byte-reader.ts';
import type { ByteWriter } from '../codec/byte-writer.ts';
import type { SettingsOf } from '../settings.ts';
import type { EndpointName } from './endpoint-id.ts';

/**
 * What a detector sees of an endpoint across actors. The calls of an endpoint lie on all partitions of `api-calls`, so each partition
 * counts them into a part per minute of event time; the parts of all partitions are merged and then judged as a whole. A detector
 * owns its part from the first call to the last byte: nobody else reads what is in it.
 */
export interface MinutePartKind<Part = unknown, State = unknown> {
  /**
   * Marks the detector's parts in records and its states in the store: 1 to 255, never given to another detector. Minutes are judged
   * in the order of the ids.
   */
  readonly id: number;
  /**
   * Versions of the bytes of a part and of a state. Raise one when older bytes can no longer be read. Bytes of any other version are
   * dropped and counted; the detector then begins anew.
   */
  readonly partVersion: number;
  readonly stateVersion: number;

  newPart(): Part;
  /** Makes what adds calls to parts; each partition has its own, so it may hold a bounded memory. */
  createCounter(): CallCounter<Part>;
  /**
   * Adds a revision of an alert of the detector's type about one address, as the profile of that address handed it over with
   * `DetectionOutput.toEndpoint`. Throws if the part cannot take it.
   */
  addFinding?(part: Part, alert: Alert): void;
  /**
   * Adds `other` to `part` and leaves `other` as it is. Commutative and associative: what is judged depends neither on how calls are
   * spread over partitions nor on the order in which parts arrive.
   */
  merge(part: Part, other: Part): void;
  /** Equal parts give equal bytes. */
  encode(part: Part, writer: ByteWriter): void;
  /**
   * Reads foreign bytes: whatever stands in them, it keeps no more than a part may hold, and throws an Error on what cannot be a part.
   */
  decode(reader: ByteReader): Part;

  createJudge(settingsOf: SettingsOf): EndpointJudge<Part, State>;
}

export interface CallCounter<Part> {
  /**
   * Adds a call and returns the part; undefined while there is nothing to keep of the minute. Calls that Kong refused to a known
   * consumer are left out beforehand.
   */
  add(part: Part | undefined, call: ApiCall): Part | undefined;
}

/**
 * The judging half of a detector across actors, with its settings. Pure: by event time, without I/O, clock or randomness. Alerts
 * are put out oldest first.
 */
export interface EndpointJudge<Part = unknown, State = unknown> {
  /** False if the settings leave nothing to judge. */
  readonly enabled: boolean;
  /** Whether an endpoint without a state gets one because of this minute. Paths that somebody makes up should not. */
  isOfNote(part: Part, minute: JudgedMinute): boolean;
  newState(): State;
  /** Judges one minute of an endpoint that has a state, also a minute without a part, and changes the state. */
  judge(state: State, part: Part | undefined, minute: JudgedMinute, out: AlertOutput): void;
  /** Ends the episodes that are over at event time `nowMs`. The alerts are the same however late it is called. */
  close(state: State, of: EndpointName, nowMs: number, out: AlertOutput): void;
  /** Event time from which `close` has something to do; undefined while no episode is open. */
  closesAt(state: State): number | undefined;
  encode(state: State, writer: ByteWriter): void;
  /** Throws on bytes that `encode` did not write. */
  decode(reader: ByteReader): State;
}

/** Takes the alerts of a judge, in order. */
export interface AlertOutput {
  alert(alert: Alert): void;
}

/** A minute of an endpoint under judgement. */
export interface JudgedMinute extends EndpointName {
  /** Start of the minute, ms of event time. */
  readonly startsAt: number;
  /** End of the step in which it is judged, ms of event time: later than the minute's own end where parts came late. */
  readonly judgedAt: number;
  /** All calls of the minute, whether they concern a detector or not. */
  readonly calls: number;
  /** Part and state of another detector at the same endpoint, for detectors that leave findings to each other. */
  of<Part, State>(kind: MinutePartKind<Part, State>): { part: Part | undefined; state: State | undefined };
}
