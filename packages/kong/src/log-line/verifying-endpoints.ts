/** Calls without a credential that were refused at an endpoint, from this many sources at least, before it counts as verifying. */
const leastRefused = 5;
const leastSources = 2;
const sourcesKept = 4;
const endpointsMost = 5_000;

/** What was seen of calls without a credential at one endpoint. */
export interface EndpointEvidence {
  refused: number;
  /** Some sources of them, so that one client alone cannot teach. */
  sources: string[];
  /** Event time of the latest call without a credential that got through; 0 if none did. */
  servedAtMs: number;
}

/** Learns at which endpoints the service itself verifies credentials. */
export interface VerifyingEndpoints {
  /** Notes what came of a call that presented nothing: refused for want of a credential, or served. */
  note: (endpoint: string, source: string, outcome: 'refused' | 'served', atMs: number) => void;
  /** Calls that present nothing are refused there and none got through: a credential that is served was verified. */
  verifies: (endpoint: string) => boolean;
  /** Calls that present nothing get through there. */
  isPublic: (endpoint: string) => boolean;
  /** Another number whenever there is something to save. */
  readonly revision: number;
  /** Everything that was learnt, in the order in which endpoints came, to be kept over a restart. */
  learnt: () => [endpoint: string, evidence: EndpointEvidence][];
}

/**
 * Makes the learner. Nobody can teach it that an endpoint verifies which does not: there, calls without a credential are
 * served. A single call that is served without one takes back what was learnt. At most 5,000 endpoints are kept; beyond, the one
 * that was noted longest ago is forgotten, and its callers count by their address again. Pure.
 */
export function createVerifyingEndpoints(
  learnt: readonly [endpoint: string, evidence: EndpointEvidence][] = [],
): VerifyingEndpoints {
  const evidence = new Map<string, EndpointEvidence>(learnt);
  let revision = 0;

  return {
    note(endpoint, source, outcome, atMs) {
      const known = evidence.get(endpoint);
      const one = known ?? { refused: 0, sources: [], servedAtMs: 0 };
      // Again at the end: the first of the map is the one to forget.
      if (known) evidence.delete(endpoint);
      else if (evidence.size >= endpointsMost) evidence.delete(evidence.keys().next().value!);
      evidence.set(endpoint, one);
      if (outcome === 'served') {
        if (one.servedAtMs === 0) revision++;
        one.servedAtMs = Math.max(one.servedAtMs, atMs);
        return;
      }
      one.refused++;
      revision++;
      if (one.sources.length < sourcesKept && !one.sources.includes(source)) one.sources.push(source);
    },
    verifies(endpoint) {
      const one = evidence.get(endpoint);
      return (
        one !== undefined &&
        one.servedAtMs === 0 &&
        one.refused >= leastRefused &&
        one.sources.length >= leastSources
      );
    },
    isPublic: (endpoint) => (evidence.get(endpoint)?.servedAtMs ?? 0) > 0,
    get revision() {
      return revision;
    },
    learnt: () => [...evidence],
  };
}
