import type { Alert } from '@tripline/model';
import type { DetectionConfig } from '../config.ts';
import { dryRunMarker } from '../dry-run.ts';
import { globToRegExp } from '../glob.ts';
import { parseState } from '../state-text.ts';
import { ENDPOINT_WINDOW_MS } from './constants.ts';
import {
  closeStuffing,
  decodeStuffing,
  encodeStuffing,
  endpointId,
  isOfNote,
  judgeMinute,
  newStuffingState,
  stuffingClosesAt,
  type EncodedStuffing,
  type StuffingState,
} from './credential-stuffing.ts';
import {
  closeCoverage,
  coverageClosesAt,
  decodeCoverage,
  encodeCoverage,
  judgeCoverage,
  newCoverageState,
  type CoverageState,
  type EncodedCoverage,
} from './id-coverage.ts';
import type { WholeMinute } from './minute-hold.ts';

/** What is kept per endpoint: one part per detector. Opaque to the caller; mutated by `judge` and `close`. */
export interface EndpointState {
  readonly service: string;
  readonly endpoint: string;
  stuffing: StuffingState;
  coverage: CoverageState | null;
}

/**
 * All detectors that look at an endpoint across actors: pure functions of state and minute, by event time only. What comes
 * of them depends on the minutes and their order alone, wherever the states are encoded in between.
 */
export interface EndpointDetection {
  /** False if there is nothing to look for: then nothing need be aggregated. */
  readonly enabled: boolean;
  stateKey(of: { service: string; endpoint: string }): string;
  /** Must the endpoint get a state because of this minute, if it has none? If not, the minute may be passed over. */
  isOfNote(minute: WholeMinute): boolean;
  /** A state for an endpoint that has none. */
  create(of: { service: string; endpoint: string }): EndpointState;
  /** State from its text. Throws on text that `encode` did not write. */
  decode(text: string): EndpointState;
  /** Compact JSON: about 1 KB for an endpoint that is quiet, 4 KB if it has ids, 25 KB more during episodes. */
  encode(state: EndpointState): string;
  /** Judges a minute in its step, mutating the state; returns the alert revisions to publish now, oldest first. */
  judge(state: EndpointState, whole: WholeMinute, step: number): Alert[];
  /** Ends the episodes that are over at event time `nowMs`. What it returns does not depend on how late it is called. */
  close(state: EndpointState, nowMs: number): Alert[];
  /** Event time from which `close` has something to do; undefined if no episode is open. */
  closesAt(state: EndpointState): number | undefined;
}

/** Version of the states' text; a change that old text cannot be read by must raise it. */
const STATE_VERSION = 3;

type EncodedState = [
  version: number,
  service: string,
  endpoint: string,
  stuffing: EncodedStuffing,
  coverage?: EncodedCoverage,
];

/** `config` must have passed `detectionConfigSchema`. */
export function createEndpointDetection(config: DetectionConfig): EndpointDetection {
  const { enabled } = config.credentialStuffing;
  const coverageEnabled = config.objectEnumeration.enabled;
  const marked = dryRunMarker(config);
  const scope = config.credentialStuffing.scope?.endpoints.map(globToRegExp);
  const exceptions = config.credentialStuffing.exceptions.map(({ endpoints, from, until }) => ({
    patterns: endpoints.map(globToRegExp),
    fromMs: Date.parse(from),
    untilMs: Date.parse(until),
  }));
  const isExcepted = (whole: WholeMinute): boolean => {
    const atMs = whole.window * ENDPOINT_WINDOW_MS;
    const id = endpointId(whole);
    if (scope && !scope.some((pattern) => pattern.test(id))) return true;
    return exceptions.some(
      ({ patterns, fromMs, untilMs }) =>
        atMs + ENDPOINT_WINDOW_MS > fromMs && atMs < untilMs && patterns.some((pattern) => pattern.test(id)),
    );
  };

  return {
    enabled: enabled || coverageEnabled,
    stateKey: (of) => `e:${endpointId(of)}`,
    isOfNote: ({ minute }) => (enabled && isOfNote(minute)) || (coverageEnabled && minute.walked !== null),
    create: ({ service, endpoint }) => ({ service, endpoint, stuffing: newStuffingState(), coverage: null }),
    decode(text) {
      const parts = parseState(text, STATE_VERSION, 'an endpoint') as EncodedState;
      const [, service, endpoint, stuffing, coverage] = parts;
      return {
        service,
        endpoint,
        stuffing: decodeStuffing(stuffing),
        coverage: coverage ? decodeCoverage(coverage) : null,
      };
    },
    encode({ service, endpoint, stuffing, coverage }) {
      const encoded: EncodedState = [STATE_VERSION, service, endpoint, encodeStuffing(stuffing)];
      if (coverage) encoded.push(encodeCoverage(coverage));
      return JSON.stringify(encoded);
    },
    judge(state, whole, step) {
      const nowMs = (step + 1) * ENDPOINT_WINDOW_MS;
      const { minute } = whole;
      const alerts: Alert[] = [];
      if (!enabled || isExcepted(whole)) {
        for (const alert of closeStuffing(state.stuffing, state, step * ENDPOINT_WINDOW_MS))
          alerts.push(alert);
      } else if (state.stuffing.newestMs > 0 || isOfNote(minute)) {
        for (const alert of judgeMinute(state.stuffing, whole, nowMs)) alerts.push(alert);
      }
      if (coverageEnabled && minute.walked) {
        state.coverage ??= newCoverageState();
        for (const alert of judgeCoverage(state.coverage, whole, nowMs)) alerts.push(alert);
      }
      return marked(alerts);
    },
    close(state, nowMs) {
      const alerts = closeStuffing(state.stuffing, state, nowMs);
      if (state.coverage) alerts.push(...closeCoverage(state.coverage, state, nowMs));
      return marked(alerts);
    },
    closesAt({ stuffing, coverage }) {
      const ends = [stuffingClosesAt(stuffing), coverage ? coverageClosesAt(coverage) : undefined];
      const known = ends.filter((at) => at !== undefined);
      return known.length > 0 ? Math.min(...known) : undefined;
    },
  };
}
