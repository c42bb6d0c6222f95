import { Recent, RecencyList } from './recency-list.ts';

/** So many calls without a credential must have been refused at an endpoint, and from so many sources, before it counts as verifying. */
const minRefused = 5;
const minSources = 2;
const maxSources = 4;
const maxEndpoints = 5_000;

/** What was seen of calls without a credential at one endpoint. */
export interface EndpointEvidence {
  refused: number;
  /** Some sources of the refused calls, so that one client alone cannot teach. */
  sources: string[];
  /** Event time, in ms, of the latest call without a credential that was served; 0 if none was. */
  servedAtMs: number;
}

/** Learns at which endpoints the service itself verifies credentials. */
export interface VerifyingEndpoints {
  /** Notes the outcome of a call that presented nothing: refused for want of a credential, or served. */
  note: (endpoint: string, source: string, outcome: 'refused' | 'served', atMs: number) => void;
  /** Calls that present nothing are refused there and none was served: a credential that is served was verified. */
  verifies: (endpoint: string) => boolean;
  /** Calls that present nothing are served there. */
  isPublic: (endpoint: string) => boolean;
  /** Another number whenever there is something to save. */
  readonly revision: number;
  /** Everything that was learnt, the endpoint noted longest ago first, to be kept over a restart. */
  learnt: () => [endpoint: string, evidence: EndpointEvidence][];
}

class Endpoint extends Recent {
  readonly name: string;
  readonly evidence: EndpointEvidence;

  constructor(name: string, evidence: EndpointEvidence) {
    super();
    this.name = name;
    this.evidence = evidence;
  }
}

/**
 * Makes the learner. Nobody can teach it that an endpoint verifies which does not: calls without a credential are served there.
 * A single call that is served without one takes back what was learnt. At most 5,000 endpoints are kept; beyond, the one that was
 * noted longest ago is forgotten, and its callers count by their address again. Pure.
 */
export function createVerifyingEndpoints(
  learnt: readonly [endpoint: string, evidence: EndpointEvidence][] = [],
): VerifyingEndpoints {
  const endpoints = new Map<string, Endpoint>();
  const recent = new RecencyList<Endpoint>();
  let revision = 0;

  const create = (name: string, evidence: EndpointEvidence): Endpoint => {
    const created = new Endpoint(name, evidence);
    endpoints.set(name, created);
    return created;
  };
  for (const [name, evidence] of learnt) recent.use(create(name, evidence));

  const forgetOldest = (): void => {
    const oldest = recent.oldest!;
    recent.remove(oldest);
    endpoints.delete(oldest.name);
  };

  return {
    note(name, source, outcome, atMs) {
      let endpoint = endpoints.get(name);
      if (!endpoint) {
        if (endpoints.size >= maxEndpoints) forgetOldest();
        endpoint = create(name, { refused: 0, sources: [], servedAtMs: 0 });
      }
      recent.use(endpoint);
      const { evidence } = endpoint;
      if (outcome === 'served') {
        if (evidence.servedAtMs === 0) revision++;
        evidence.servedAtMs = Math.max(evidence.servedAtMs, atMs);
        return;
      }
      evidence.refused++;
      revision++;
      if (evidence.sources.length < maxSources && !evidence.sources.includes(source))
        evidence.sources.push(source);
    },
    verifies(name) {
      const evidence = endpoints.get(name)?.evidence;
      return (
        evidence !== undefined &&
        evidence.servedAtMs === 0 &&
        evidence.refused >= minRefused &&
        evidence.sources.length >= minSources
      );
    },
    isPublic: (name) => (endpoints.get(name)?.evidence.servedAtMs ?? 0) > 0,
    get revision() {
      return revision;
    },
    learnt: () => recent.entries().map(({ name, evidence }) => [name, evidence]),
  };
}
