import { severities, type Alert, type Severity } from '@tripline/model';

/** What happened to an alert since the receiver was last notified of it. */
export type AlertEvent = 'raised' | 'updated' | 'closed';

/** Counts the messages about alerts of one type and severity that a digest replaces. */
export interface DigestCount {
  type: string;
  severity: Severity;
  raised: number;
  updated: number;
  closed: number;
}

/** Replaces messages that were not sent one by one. The counts are exact: each of these messages is counted once. */
export interface AlertDigest {
  /** The policy whose action names the receiver. */
  policy: string;
  /** When the first and the last of the messages came, ms since the epoch. */
  from: number;
  to: number;
  /** Sum of all `counts`. */
  messages: number;
  counts: DigestCount[];
  /** The most severe of the alerts, and of equally severe ones the first; at most `digestAlertsMax`. */
  alerts: { id: string; type: string; severity: Severity; actor: string; summary: string }[];
  /** How to list all of the alerts, in words. */
  list: string;
}

export const digestAlertsMax = 20;
/** Types of alerts that are counted by name. There are fewer, so that further ones come from bad records: they count as `other`. */
const typesMax = 32;
const textCharsMax = 300;

export function emptyDigest(policy: string, nowMs: number): AlertDigest {
  return {
    policy,
    from: nowMs,
    to: nowMs,
    messages: 0,
    counts: [],
    alerts: [],
    list: `Ask the responder for GET /alerts?since=${nowMs}, or the lake for them.`,
  };
}

/** Adds one message to the digest, in place. */
export function addToDigest(digest: AlertDigest, event: AlertEvent, alert: Alert, nowMs: number): void {
  digest.to = Math.max(digest.to, nowMs);
  digest.messages++;
  const types = new Set(digest.counts.map((count) => count.type));
  const type = types.has(alert.type) || types.size < typesMax ? alert.type.slice(0, 64) : 'other';
  let count = digest.counts.find((one) => one.type === type && one.severity === alert.severity);
  if (!count) {
    count = { type, severity: alert.severity, raised: 0, updated: 0, closed: 0 };
    digest.counts.push(count);
  }
  count[event]++;
  nameAlert(digest, alert);
}

/** Lists the alert if it is one of the most severe. Each alert is listed once. */
function nameAlert(digest: AlertDigest, alert: Alert): void {
  const { alerts } = digest;
  const rank = (severity: Severity): number => severities.indexOf(severity);
  const at = alerts.findIndex((one) => one.id === alert.id);
  if (at >= 0) alerts.splice(at, 1);
  const place = alerts.findIndex((one) => rank(one.severity) < rank(alert.severity));
  if (place < 0 && alerts.length >= digestAlertsMax) return;
  alerts.splice(place < 0 ? alerts.length : place, 0, {
    id: alert.id,
    type: alert.type,
    severity: alert.severity,
    actor: alert.actor.name.slice(0, textCharsMax),
    summary: alert.summary.slice(0, textCharsMax),
  });
  if (alerts.length > digestAlertsMax) alerts.pop();
}
