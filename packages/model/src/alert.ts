/** In kebab case, such as `request-spike`: one per detector. Which there are is known to the registry of detectors only. */
export type AlertType = string;

export const alertTypeShape = /^[a-z][a-z0-9]{0,31}(-[a-z0-9]{1,32}){0,7}$/;

export function isAlertType(value: unknown): value is AlertType {
  return typeof value === 'string' && alertTypeShape.test(value);
}

/**
 * While it grows, an alert is published again at most this often, and when this share of its age (from `raisedAt`) has passed:
 * at most ten times per tenfold duration.
 */
export const REVISION_LEAST_MS = 60_000;
export const REVISION_SHARE = 0.1;

/** In rising order. */
export const severities = ['low', 'medium', 'high', 'critical'] as const;
export type Severity = (typeof severities)[number];

/** Severity that goes with a score of 0 to 100. */
export function severityOf(score: number): Severity {
  return score >= 85 ? 'critical' : score >= 65 ? 'high' : score >= 40 ? 'medium' : 'low';
}

export interface AlertActor {
  kind: 'consumer' | 'credential' | 'address' | 'endpoint' | 'campaign';
  id: string;
  name: string;
  /** For consumers: what policies can match on besides. */
  username?: string;
  customId?: string;
  tags?: string[];
}

export interface AlertSource {
  /** IPv4 address, or the /64 of IPv6 addresses (`2001:db8:1:2::/64`). */
  ip: string;
  count: number;
  country?: string;
  asn?: number;
}

/**
 * A finding worth a person's or a policy's attention, one per episode. It grows in place: the same id is published again
 * with a higher `revision` while the episode lasts, and once more with `status: "closed"`. Times are ms of event time.
 */
export interface Alert {
  /** Deterministic: detector, actor, scope and window, so that a replay raises the same alert. */
  id: string;
  /** Counts the published states of this alert from 1. */
  revision: number;
  type: AlertType;
  severity: Severity;
  /** 0 to 100. */
  score: number;
  actor: AlertActor;
  service: string | null;
  route: string | null;
  endpoint: string | null;
  raisedAt: number;
  /** Start of the first window that exceeded what is normal. */
  startedAt: number;
  /** Last call that belonged to the episode. */
  lastSeenAt: number;
  /** Calls in the episode. */
  count: number;
  status: 'open' | 'closed';
  /** The detector is only tried out: policies decide and report, but nothing is done and nobody is told. */
  dryRun?: true;
  observed: { value: number; unit: string };
  expected: { value: number; low: number; high: number; unit: string };
  /** A sentence in plain words. */
  summary: string;
  /** Largest first, at most 20. */
  sources: AlertSource[];
  evidence: Record<string, unknown>;
  /** At most 20. */
  sampleCallIds: string[];
  references: string[];
}
