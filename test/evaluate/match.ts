import { actorKey, type Alert, type AlertType, type ApiCall } from '@tripline/model';
import type { Label } from '../traffic/stage.ts';

/**
 * Which alert is about which attack. The rule, in words:
 *
 * - **Time**: the alert was raised after the attack began, and what it is about began at most an hour after the attack's
 *   last request and did not end more than ten minutes before its first.
 * - **Who**: an alert about a consumer, credential or address is about an attack in which that actor (or address) took
 *   part. An alert about an endpoint or a campaign is about the one attack that sent the most requests to the alert's
 *   endpoint, or from its sources, in its time: one of a type that it finds, if there was any.
 * - **Type**: it finds the attack if its type is the planted one or a close relative. If not, it is neither a find nor
 *   false, but collateral.
 *
 * An alert that is about no attack is false, unless the catalogue tolerates it: so many alerts, of such types, about such
 * a harmless oddity.
 */
export const lateMs = 60 * 60_000;
export const earlyMs = 10 * 60_000;

const relatives: readonly (readonly AlertType[])[] = [
  ['credential-stuffing', 'brute-force'],
  ['impossible-travel', 'credential-sharing'],
  ['data-scraping', 'object-enumeration'],
];

/** Are these types close enough that one finds what was planted as the other? */
export function related(a: AlertType, b: AlertType): boolean {
  return a === b || relatives.some((family) => family.includes(a) && family.includes(b));
}

/** What became of one alert. */
export type Verdict =
  | { kind: 'finds'; labels: Label[] }
  | { kind: 'collateral'; label: Label }
  | { kind: 'tolerated'; label: Label }
  | { kind: 'false'; scenario: string };

/** Judges the alerts (the last revision of each, in any order) of one run against what was planted. */
export function judge(alerts: readonly Alert[], labels: readonly Label[]): Map<Alert, Verdict> {
  const attacks = labels.filter((label) => label.kind === 'attack');
  const benign = labels.filter((label) => label.kind === 'benign');
  const tookPart = (label: Label, alert: Alert): boolean =>
    label.actors.has(actorKeyOf(alert)) ||
    (alert.actor.kind === 'address' && label.addresses.has(alert.actor.id));
  const tolerated = new Map<Label, number>();
  const verdicts = new Map<Alert, Verdict>();

  for (const alert of [...alerts].sort((a, b) => a.raisedAt - b.raisedAt || (a.id < b.id ? -1 : 1))) {
    const about = attacksOf(alert, attacks, tookPart);
    const finds = about.filter((label) => related(alert.type, label.type));
    if (finds.length > 0) verdicts.set(alert, { kind: 'finds', labels: finds });
    else if (about.length > 0) verdicts.set(alert, { kind: 'collateral', label: about[0]! });
    else {
      const own = benign.filter((label) => tookPart(label, alert));
      // What happens to everybody has no actors of its own.
      const around = benign.filter((label) => label.actors.size === 0 && inTime(alert, label));
      const excuse = [...own, ...around].find(
        ({ tolerates }) => tolerates?.types.includes(alert.type) === true,
      );
      const used = (excuse && tolerated.get(excuse)) ?? 0;
      if (excuse && used < excuse.tolerates!.most) {
        tolerated.set(excuse, used + 1);
        verdicts.set(alert, { kind: 'tolerated', label: excuse });
      } else verdicts.set(alert, { kind: 'false', scenario: scenarioOf(alert, own, around) });
    }
  }
  return verdicts;
}

function attacksOf(
  alert: Alert,
  attacks: readonly Label[],
  tookPart: (label: Label, alert: Alert) => boolean,
): Label[] {
  const overlapping = attacks.filter((label) => inTime(alert, label));
  // An alert grows over several attacks of one actor, if it was raised by the first of them.
  const raised = (label: Label): boolean => alert.raisedAt >= label.startedAt;
  if (alert.actor.kind !== 'endpoint' && alert.actor.kind !== 'campaign') {
    const theirs = overlapping.filter((label) => tookPart(label, alert));
    return theirs.some(raised) ? theirs : [];
  }
  const endpoint = alert.endpoint ?? alert.actor.name;
  const sources = new Set(alert.sources.map((source) => source.ip));
  const there = overlapping.filter(
    (label) =>
      raised(label) && (label.endpoints.has(endpoint) || [...sources].some((ip) => label.addresses.has(ip))),
  );
  const main =
    busiest(
      there.filter((label) => related(alert.type, label.type)),
      alert,
    ) ?? busiest(there, alert);
  return main ? [main] : [];
}

/** The attack that sent the most requests in the alert's time. */
function busiest(attacks: readonly Label[], alert: Alert): Label | undefined {
  let most = 0;
  let main: Label | undefined;
  for (const label of attacks) {
    const calls = label.times.filter(
      (time) => time >= alert.startedAt - earlyMs && time <= alert.lastSeenAt,
    ).length;
    if (calls > most) {
      most = calls;
      main = label;
    }
  }
  return main;
}

function inTime(alert: Alert, label: Label): boolean {
  return alert.startedAt <= label.endedAt + lateMs && alert.lastSeenAt >= label.startedAt - earlyMs;
}

function scenarioOf(alert: Alert, own: readonly Label[], around: readonly Label[]): string {
  const label = own[0];
  if (label) return `${label.variant} ${label.title}`;
  const short = around.find(({ startedAt, endedAt }) => endedAt - startedAt < 2 * 86_400_000);
  return short ? `crowd, during ${short.variant} ${short.title}` : `crowd (${alert.actor.kind})`;
}

function actorKeyOf({ actor }: Alert): string {
  return actorKey({ actorKind: actor.kind as ApiCall['actorKind'], actorId: actor.id });
}
