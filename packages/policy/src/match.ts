import { matchesGlob, severities, type Alert } from '@tripline/model';
import { networksOverlap, parseNetwork } from './network.ts';
import type { PolicyMatch } from './policy-match.ts';

type OneOrMore<T> = T | T[];

function list<T>(value: OneOrMore<T>): T[] {
  return Array.isArray(value) ? value : [value];
}

function matchesText(patterns: OneOrMore<string> | undefined, text: string | null | undefined): boolean {
  if (patterns === undefined) return true;
  if (text === null || text === undefined) return false;
  return list(patterns).some((pattern) => matchesGlob(pattern, text));
}

function matchesConsumer(consumer: PolicyMatch['consumer'], alert: Alert): boolean {
  if (!consumer) return true;
  const { actor } = alert;
  return (
    actor.kind === 'consumer' &&
    matchesText(consumer.id, actor.id) &&
    matchesText(consumer.username, actor.username) &&
    matchesText(consumer.customId, actor.customId) &&
    (consumer.tags === undefined || (actor.tags ?? []).some((tag) => matchesText(consumer.tags, tag)))
  );
}

/**
 * The source of IPv6 calls is their /64. A condition on a part of it holds, since any address of it may be the caller, and
 * a policy that exempts an address must not act on it.
 */
function matchesNetwork(networks: OneOrMore<string> | undefined, alert: Alert): boolean {
  if (networks === undefined) return true;
  const sources = alert.sources.map((source) => parseNetwork(source.ip));
  return list(networks).some((text) => {
    const network = parseNetwork(text);
    return (
      typeof network !== 'string' &&
      sources.some((source) => typeof source !== 'string' && networksOverlap(network, source))
    );
  });
}

/**
 * True if every condition given holds. A condition on something that the alert does not have (a route, a country, a
 * user name) does not hold, not even `*`; `not` around it does.
 */
export function matches(match: PolicyMatch, alert: Alert): boolean {
  const { type, severityAtLeast, country } = match;
  return (
    (type === undefined || list(type).includes(alert.type)) &&
    (severityAtLeast === undefined ||
      severities.indexOf(alert.severity) >= severities.indexOf(severityAtLeast)) &&
    matchesText(match.service, alert.service) &&
    matchesText(match.route, alert.route) &&
    matchesText(match.endpoint, alert.endpoint) &&
    matchesConsumer(match.consumer, alert) &&
    matchesNetwork(match.network, alert) &&
    (country === undefined ||
      alert.sources.some(
        (source) => source.country !== undefined && list(country).includes(source.country),
      )) &&
    (match.not === undefined || !matches(match.not, alert)) &&
    (match.any === undefined || match.any.some((inner) => matches(inner, alert))) &&
    (match.all === undefined || match.all.every((inner) => matches(inner, alert)))
  );
}
