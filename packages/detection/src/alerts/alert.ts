import { severityOf, type Alert, type AlertActor, type AlertType } from '@tripline/model';
import { markPublished, type Growing } from './episode.ts';
import { dominant, topSources, type Tally } from './tally.ts';

/** What a detector says about an open or closing episode; evidence is typed by the detector. */
export interface Finding<Evidence extends object> {
  id: string;
  type: AlertType;
  /** 0 to 100. */
  score: number;
  actor: AlertActor;
  service: string | null;
  route: string | null;
  endpoint: string | null;
  status: Alert['status'];
  observed: Alert['observed'];
  expected: Alert['expected'];
  summary: string;
  sources: Alert['sources'];
  evidence: Evidence;
  sampleCallIds: readonly string[];
  references: readonly string[];
}

/** The next revision of the episode's alert, published at `nowMs`. All alerts of all detectors are made here. */
export function publishAlert<Evidence extends object>(
  episode: Growing,
  finding: Finding<Evidence>,
  nowMs: number,
): Alert {
  const { score } = finding;
  markPublished(episode, score, nowMs);
  return {
    id: finding.id,
    revision: episode.revision,
    type: finding.type,
    severity: severityOf(score),
    score,
    actor: finding.actor,
    service: finding.service,
    route: finding.route,
    endpoint: finding.endpoint,
    raisedAt: episode.raisedAt,
    startedAt: episode.startedAt,
    lastSeenAt: episode.lastSeenAt,
    count: episode.count,
    status: finding.status,
    observed: finding.observed,
    expected: finding.expected,
    summary: finding.summary,
    sources: finding.sources,
    evidence: { ...finding.evidence } as Record<string, unknown>,
    sampleCallIds: [...finding.sampleCallIds],
    references: [...finding.references],
  };
}

/** What the calls of a tally say about an alert: where they went, where they came from, and some of them. */
export function tallied(
  tally: Tally,
): Pick<Finding<object>, 'service' | 'route' | 'endpoint' | 'sources' | 'sampleCallIds'> {
  return {
    service: dominant(tally, tally.services),
    route: dominant(tally, tally.routes),
    endpoint: dominant(tally, tally.endpoints),
    sources: topSources(tally),
    sampleCallIds: tally.sampleCallIds,
  };
}

export function rounded(value: number, decimals: number): number {
  const unit = 10 ** decimals;
  return Math.round(value * unit) / unit;
}
