import type { Alert } from '@tripline/model';
import { registry, settingsOf, type DetectionConfig } from '../registry.ts';
import { dryRunTypesOf, markDryRuns } from '../alerts/dry-run.ts';
import { addClosedEarly, continueRevisions, type ClosedEarly } from '../alerts/early-close.ts';
import { globToRegExp } from '../glob.ts';
import { toleranceOf } from '../baseline/sensitivity.ts';
import { parseState } from '../codec/state-text.ts';
import {
  closeGroup,
  decodeGroup,
  encodeGroup,
  groupClosesAt,
  groupReports,
  type BruteForceGroup,
  type EncodedGroup,
} from '../detectors/brute-force/group.ts';
import { ENDPOINT_WINDOW_MS } from './limits.ts';
import {
  absorbReports,
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
} from '../detectors/credential-stuffing/credential-stuffing.ts';
import {
  closeCrowd,
  crowdClosesAt,
  crowdFloorsAt,
  decodeCrowd,
  encodeCrowd,
  isCrowdOfNote,
  judgeCrowd,
  newCrowdState,
  type CrowdState,
  type EncodedCrowd,
} from '../detectors/request-spike/crowd.ts';
import {
  closeCoverage,
  coverageClosesAt,
  decodeCoverage,
  encodeCoverage,
  judgeCoverage,
  newCoverageState,
  type CoverageState,
  type EncodedCoverage,
} from '../detectors/object-enumeration/id-coverage.ts';
import type { EndpointMinute } from './endpoint-minute.ts';
import type { WholeMinute } from './minute-hold.ts';

/** What is kept per endpoint: one part per detector. Opaque to the caller; mutated by `judge` and `close`. */
export interface EndpointState {
  readonly service: string;
  readonly endpoint: string;
  stuffing: StuffingState;
  coverage: CoverageState | null;
  bruteForce: BruteForceGroup | null;
  crowd: CrowdState | null;
  closedEarly?: ClosedEarly;
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
  /**
   * Compact JSON: about 2 KB for an endpoint that is quiet, 5 KB if it has ids, 30 KB more during episodes; 27 bytes more for
   * each account that logs in there.
   */
  encode(state: EndpointState): string;
  /** Judges a minute in its step, mutating the state; returns the alert revisions to publish now, oldest first. */
  judge(state: EndpointState, whole: WholeMinute, step: number): Alert[];
  /** Ends the episodes that are over at event time `nowMs`. What it returns does not depend on how late it is called. */
  close(state: EndpointState, nowMs: number): Alert[];
  /** Ends all episodes of the endpoint before their time: for when more are open than can be kept. */
  closeEarly(state: EndpointState): Alert[];
  /** Event time from which `close` has something to do; undefined if no episode is open. */
  closesAt(state: EndpointState): number | undefined;
}

/** Version of the states' text; a change that old text cannot be read by must raise it. */
const STATE_VERSION = 6;

type EncodedState = [
  version: number,
  service: string,
  endpoint: string,
  stuffing: EncodedStuffing,
  coverage?: EncodedCoverage | 0,
  bruteForce?: EncodedGroup | 0,
  crowd?: EncodedCrowd | 0,
  closedEarly?: ClosedEarly,
];

/** Addresses that an alert tells of, or will with this minute: what they do is no sign of others. */
function toldAddresses({ stuffing, bruteForce }: EndpointState, { reports }: EndpointMinute): Set<string> {
  const told = new Set(bruteForce?.reports.keys());
  if (stuffing.episode === null) for (const { actor } of reports?.values() ?? []) told.add(actor.id);
  return told;
}

/** `config` must have passed `detectionConfigSchema`. */
export function createEndpointDetection(config: DetectionConfig): EndpointDetection {
  const { enabled } = config.credentialStuffing;
  const coverageEnabled = config.objectEnumeration.enabled;
  const stuffingTolerance = toleranceOf(config.credentialStuffing.sensitivity);
  const coverageTolerance = toleranceOf(config.objectEnumeration.sensitivity);
  const crowdFloors = crowdFloorsAt(toleranceOf(config.requestSpike.sensitivity));
  const judgesCrowdOf = crowdSelection(config.requestSpike);
  const dryRunTypes = dryRunTypesOf(registry, settingsOf(config, registry));
  const marked = (alerts: Alert[]): Alert[] => markDryRuns(alerts, dryRunTypes);
  /** What single addresses do is part of an open alert about many of them, unless that is only tried out. */
  const absorbs = !config.credentialStuffing.dryRun || config.bruteForce.dryRun;
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

  const closeAll = (state: EndpointState, nowMs: number): Alert[] => {
    const alerts = closeStuffing(state.stuffing, state, nowMs);
    const { bruteForce } = state;
    if (bruteForce && nowMs >= groupClosesAt(bruteForce)) {
      alerts.push(closeGroup(bruteForce, endpointId(state), nowMs));
      state.bruteForce = null;
    }
    if (state.coverage) alerts.push(...closeCoverage(state.coverage, state, nowMs));
    if (state.crowd) alerts.push(...closeCrowd(state.crowd, state, nowMs));
    return continueRevisions(state.closedEarly, marked(alerts));
  };

  return {
    enabled: enabled || coverageEnabled || config.bruteForce.enabled || config.requestSpike.enabled,
    stateKey: (of) => `e:${endpointId(of)}`,
    isOfNote: ({ service, minute }) =>
      (enabled && isOfNote(minute)) ||
      (coverageEnabled && minute.walked !== null) ||
      minute.reports !== null ||
      (isCrowdOfNote(minute.callers) && judgesCrowdOf(service)),
    create: ({ service, endpoint }) => ({
      service,
      endpoint,
      stuffing: newStuffingState(stuffingTolerance),
      coverage: null,
      bruteForce: null,
      crowd: null,
    }),
    decode(text) {
      const parts = parseState(text, STATE_VERSION, 'an endpoint') as EncodedState;
      const [, service, endpoint, stuffing, coverage, bruteForce, crowd, closedEarly] = parts;
      return {
        service,
        endpoint,
        stuffing: decodeStuffing(stuffing, stuffingTolerance),
        coverage: coverage ? decodeCoverage(coverage) : null,
        bruteForce: bruteForce ? decodeGroup(bruteForce) : null,
        crowd: crowd ? decodeCrowd(crowd, crowdFloors) : null,
        ...(closedEarly ? { closedEarly } : {}),
      };
    },
    encode({ service, endpoint, stuffing, coverage, bruteForce, crowd, closedEarly }) {
      const encoded: EncodedState = [STATE_VERSION, service, endpoint, encodeStuffing(stuffing)];
      if (coverage ?? bruteForce ?? crowd ?? closedEarly)
        encoded.push(coverage ? encodeCoverage(coverage) : 0);
      if (bruteForce ?? crowd ?? closedEarly) encoded.push(bruteForce ? encodeGroup(bruteForce) : 0);
      if (crowd ?? closedEarly) encoded.push(crowd ? encodeCrowd(crowd) : 0);
      if (closedEarly) encoded.push(closedEarly);
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
        const told = toldAddresses(state, minute);
        for (const alert of judgeMinute(state.stuffing, whole, nowMs, told, stuffingTolerance))
          alerts.push(alert);
      }
      if (minute.reports) {
        const { bruteForce, stuffing } = state;
        const isToldAlone = ({ actor }: Alert): boolean =>
          stuffing.episode === null || !absorbs || bruteForce?.reports.has(actor.id) === true;
        const reports = [...minute.reports.values()];
        absorbReports(
          stuffing,
          reports.filter((report) => !isToldAlone(report)),
        );
        const grouped = groupReports(bruteForce, reports.filter(isToldAlone), endpointId(whole), nowMs);
        state.bruteForce = grouped.group;
        alerts.push(...grouped.alerts);
      }
      if (coverageEnabled && minute.walked) {
        state.coverage ??= newCoverageState();
        for (const alert of judgeCoverage(state.coverage, whole, nowMs, coverageTolerance))
          alerts.push(alert);
      }
      if ((state.crowd ?? isCrowdOfNote(minute.callers)) && judgesCrowdOf(whole.service)) {
        state.crowd ??= newCrowdState(crowdFloors);
        for (const alert of judgeCrowd(state.crowd, whole, nowMs)) alerts.push(alert);
      }
      return continueRevisions(state.closedEarly, marked(alerts));
    },
    close: closeAll,
    closeEarly(state) {
      const alerts = closeAll(state, Infinity);
      if (alerts.length > 0) state.closedEarly = addClosedEarly(state.closedEarly, alerts);
      return alerts;
    },
    closesAt({ stuffing, coverage, bruteForce, crowd }) {
      const ends = [
        stuffingClosesAt(stuffing),
        coverage ? coverageClosesAt(coverage) : undefined,
        bruteForce ? groupClosesAt(bruteForce) : undefined,
        crowd ? crowdClosesAt(crowd) : undefined,
      ];
      const known = ends.filter((at) => at !== undefined);
      return known.length > 0 ? Math.min(...known) : undefined;
    },
  };
}

/** Whose crowds are judged, by service. Where only some consumers or routes are looked at, there is no crowd to see. */
function crowdSelection({ enabled, scope }: DetectionConfig['requestSpike']): (service: string) => boolean {
  if (!enabled || scope?.consumers || scope?.routes) return () => false;
  const services = scope?.services?.map(globToRegExp);
  return (service) => services?.some((pattern) => pattern.test(service)) ?? true;
}
