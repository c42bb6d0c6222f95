import { severityOf, type Alert } from '@tripline/model';
import { REVISION_SHARE, SAMPLES_MOST } from '../../baseline/limits.ts';
import { isNews, markPublished, type Growing } from '../../alerts/episode.ts';
import { alertSources } from '../../alerts/tally.ts';
import { ADDRESSES_MOST, OPENED_MOST, STUFFING_QUIET_MS } from '../../across-actors/limits.ts';
import { decodeGrowing, encodeGrowing, type EncodedGrowing } from '../../legacy-across.ts';

/** One or several addresses that try credentials on one endpoint: one alert. */
export interface BruteForceGroup extends Growing {
  /** Latest revision about each address, in order of their coming; at most ADDRESSES_MOST. */
  reports: Map<string, Alert>;
}

/**
 * Is this an alert about an address that tries many accounts or keys? Others may do the same on the same endpoint: the alert
 * is passed on to there. Who guesses at one account stands alone, and a stale credential is no brute force.
 */
export function isOneOfMany(alert: Alert): boolean {
  const pattern = alert.evidence['pattern'];
  return (
    alert.type === 'brute-force' &&
    alert.actor.kind === 'address' &&
    alert.endpoint !== null &&
    (pattern === 'accounts' || pattern === 'keys' || pattern === 'failures' || pattern === 'daily')
  );
}

/** Takes the reports of a minute in; returns the group, begun if there was none, and what to publish at `nowMs`. */
export function groupReports(
  group: BruteForceGroup | null,
  reports: Iterable<Alert>,
  id: string,
  nowMs: number,
): { group: BruteForceGroup | null; alerts: Alert[] } {
  for (const report of [...reports].sort((a, b) => a.startedAt - b.startedAt || (a.id < b.id ? -1 : 1))) {
    group ??= begin(report, nowMs);
    const known = group.reports.get(report.actor.id);
    if (!known && group.reports.size >= ADDRESSES_MOST) continue;
    if (known && known.id === report.id && known.revision >= report.revision) continue;
    group.reports.set(report.actor.id, report);
    group.startedAt = Math.min(group.startedAt, report.startedAt);
    group.lastSeenAt = Math.max(group.lastSeenAt, report.lastSeenAt);
  }
  if (!group) return { group, alerts: [] };
  group.count = 0;
  for (const { count } of group.reports.values()) group.count += count;
  const isNew = isNews(group, scoreOf(group), nowMs);
  return { group, alerts: isNew ? [publish(group, id, 'open', nowMs)] : [] };
}

function begin(report: Alert, nowMs: number): BruteForceGroup {
  return {
    startedAt: report.startedAt,
    raisedAt: nowMs,
    lastSeenAt: report.lastSeenAt,
    count: 0,
    revision: 0,
    publishedAt: 0,
    publishedCount: 0,
    publishedRank: -1,
    reports: new Map(),
  };
}

/**
 * Later than the alert about each of its addresses would, whose last calls are not reported: so that none of them is taken up
 * again under the same id.
 */
export function groupClosesAt(group: BruteForceGroup): number {
  return group.lastSeenAt + STUFFING_QUIET_MS + REVISION_SHARE * (group.lastSeenAt - group.startedAt);
}

export function closeGroup(group: BruteForceGroup, id: string, nowMs: number): Alert {
  return publish(group, id, 'closed', nowMs);
}

function scoreOf(group: BruteForceGroup): number {
  return worstOf(group).score;
}

function worstOf(group: BruteForceGroup): Alert {
  return [...group.reports.values()].reduce((worst, one) => (one.score > worst.score ? one : worst));
}

/** About the address while it is the only one, else about the endpoint `id`; always under the id of the first. */
function publish(group: BruteForceGroup, id: string, status: Alert['status'], nowMs: number): Alert {
  const reports = [...group.reports.values()];
  const [first] = reports as [Alert];
  const worst = worstOf(group);
  markPublished(group, worst.score, nowMs);
  const common = {
    id: first.id,
    revision: group.revision,
    raisedAt: group.raisedAt,
    startedAt: group.startedAt,
    lastSeenAt: group.lastSeenAt,
    count: group.count,
    status,
  };
  if (reports.length === 1) return { ...first, ...common };
  const all = (what: 'accounts' | 'opened'): string[] =>
    [...new Set(reports.flatMap(({ evidence }) => evidence[what] as string[]))].slice(0, OPENED_MOST);
  const opened = all('opened');
  const got = opened.length > 0 ? ` ${opened.length} of the accounts they tried were then opened.` : '';
  return {
    ...worst,
    ...common,
    severity: severityOf(worst.score),
    actor: { kind: 'endpoint', id, name: id },
    route: reports.every(({ route }) => route === worst.route) ? worst.route : null,
    summary: `${id}: ${reports.length} addresses try credentials. The worst of them: ${worst.summary}${got}`,
    sources: alertSources(reports.flatMap(({ sources }) => sources)),
    evidence: {
      ...worst.evidence,
      addresses: reports.length,
      accounts: all('accounts'),
      opened,
    },
    sampleCallIds: [...new Set(reports.flatMap(({ sampleCallIds }) => sampleCallIds.slice(0, 5)))].slice(
      0,
      SAMPLES_MOST,
    ),
  };
}

export type EncodedGroup = [growing: EncodedGrowing, reports: Alert[]];

export function encodeGroup(group: BruteForceGroup): EncodedGroup {
  return [encodeGrowing(group), [...group.reports.values()]];
}

export function decodeGroup([growing, reports]: EncodedGroup): BruteForceGroup {
  return {
    ...decodeGrowing(growing),
    reports: new Map(reports.map((report) => [report.actor.id, report])),
  };
}
