import type { Alert } from '@tripline/model';
import { aboutEndpoint } from '../../across-actors/about-endpoint.ts';
import { endpointId, type EndpointName } from '../../across-actors/endpoint-id.ts';
import { largestShares, percent, toHundredths } from '../../across-actors/shares.ts';
import { publishAlert } from '../../alerts/alert.ts';
import { scoreOf } from '../../alerts/episode.ts';
import { alertSources, largestFirst } from '../../alerts/tally.ts';
import { CALL_WEIGHT, SAMPLES_MOST, SOURCES_MOST } from '../../baseline/limits.ts';
import { acceptedUpTo } from '../../baseline/window-counts.ts';
import type { Caller, Callers } from './crowd-callers.ts';
import { CALLS_PER_ACTOR } from './crowd-networks.ts';
import { crowdSpan, type CrowdEpisode } from './crowd-state.ts';

/** The next revision of the open episode's alert; `callers` are those of the episode. */
export function crowdAlert(
  episode: CrowdEpisode,
  callers: Callers,
  of: EndpointName,
  status: Alert['status'],
  nowMs: number,
): Alert {
  const { worst, network } = episode;
  const score = scoreOf(worst.factor);
  const id = endpointId(of);
  const { spanMs, unit, words } = crowdSpan(worst);
  const value = Math.round(worst.count / CALL_WEIGHT);
  const high = Math.floor(worst.high / CALL_WEIGHT);
  const actors = callers.distinct();
  const finding = {
    id: episode.id,
    type: 'request-spike' as const,
    score,
    ...aboutEndpoint(of, 'campaign'),
    status,
    observed: { value, unit },
    expected: { value: Math.round((worst.expected / CALL_WEIGHT) * 10) / 10, low: 0, high, unit },
    summary:
      `${id}: about ${actors} actors together sent ${value} requests in ${words}, ${percent(network.share)} of them from ` +
      `network AS${network.asn}, usually ${percent(network.usualShare)}; ${acceptedUpTo(high, worst)}. ` +
      `Of each actor ${CALLS_PER_ACTOR} a minute count at most.`,
    sources: alertSources(byCalls(callers).map(([, { calls, ...from }]) => ({ ...from, count: calls }))),
    evidence: {
      kind: 'crowd',
      windowMs: spanMs,
      windowStartsAt: worst.startsAt,
      factor: Math.round(worst.factor * 100) / 100,
      learning: worst.learning,
      learntHours: worst.learntHours,
      // An estimate from 32 on, see `Sample`; what follows is of a fair sample of the actors, weighted by their calls.
      distinctActors: actors,
      actors: byCalls(callers)
        .slice(0, SOURCES_MOST)
        .map(([actor, { calls }]) => ({ actor, count: calls })),
      network: network.asn,
      networkShare: toHundredths(network.share),
      usualNetworkShare: toHundredths(network.usualShare),
      networks: sharesOf(callers, ({ asn }) => asn),
      countries: sharesOf(callers, ({ country }) => country),
    },
    sampleCallIds: callers
      .sorted()
      .slice(0, SAMPLES_MOST)
      .map(([, { value: caller }]) => caller.callId),
    references: ['OWASP API4:2023', 'MITRE ATT&CK T1499'],
  };
  return publishAlert(episode, finding, nowMs);
}

function byCalls(callers: Callers): [name: string, caller: Caller][] {
  const named = [...callers.entries()].map(([name, { value }]): [string, Caller] => [name, value]);
  return largestFirst(named, ({ calls }) => calls);
}

/** The values with the most calls and their share of all calls. */
function sharesOf<Value extends string | number>(
  callers: Callers,
  valueOf: (caller: Caller) => Value | null,
): { value: Value; share: number }[] {
  return largestShares([...callers.entries()].map(([, { value }]) => [valueOf(value), value.calls] as const));
}
