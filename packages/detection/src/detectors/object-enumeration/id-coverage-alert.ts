import type { Alert } from '@tripline/model';
import { aboutEndpoint } from '../../across-actors/about-endpoint.ts';
import { endpointId, type EndpointName } from '../../across-actors/endpoint-id.ts';
import { publishAlert } from '../../alerts/alert.ts';
import { scoreOf } from '../../alerts/episode.ts';
import { alertSources, largestFirst } from '../../alerts/tally.ts';
import { SOURCES_MOST, TALLY_KEYS } from '../../baseline/limits.ts';
import { RANGE_IDS } from './id-coverage-sample.ts';
import {
  learntHours,
  SPANS,
  topShare,
  type CoverageEpisode,
  type CoveragePool,
  type CoverageState,
} from './id-coverage-state.ts';

/** The next revision of the open episode's alert. */
export function coverageAlert(
  state: CoverageState,
  episode: CoverageEpisode,
  pool: CoveragePool,
  of: EndpointName,
  status: Alert['status'],
  nowMs: number,
): Alert {
  const { span, value, high, top } = episode.worst;
  const score = scoreOf(value / high);
  const { unit, words } = SPANS[span];
  const id = endpointId(of);
  const many = pool.actors.size >= TALLY_KEYS ? `${TALLY_KEYS} actors or more` : `${pool.actors.size} actors`;
  const share = Math.ceil(topShare(pool) * 100);
  const finding = {
    id: episode.id,
    type: 'object-enumeration' as const,
    score,
    ...aboutEndpoint(of),
    status,
    observed: { value, unit },
    expected: { value: top, low: 0, high, unit },
    summary:
      `${id}: ${value} ranges of ${RANGE_IDS} consecutive ids were gone through in ${words} by ${many} together, ` +
      `each with at most ${share} % of the ids; normal is up to ${high} ` +
      `(at most ${top} lately, ${learntHours(state)} h learnt).`,
    sources: alertSources([...pool.sources].map(([ip, source]) => ({ ip, ...source }))),
    evidence: {
      learning: 'overall',
      learntHours: learntHours(state),
      factor: Math.round((value / high) * 100) / 100,
      leastId: pool.least,
      largestId: pool.most,
      // Of the ids in ranges that several actors filled; of busy endpoints a sample.
      ids: pool.ids,
      distinctActors: pool.actors.size,
      largestShare: Math.round(topShare(pool) * 100) / 100,
      actors: largestFirst(pool.actors, (count) => count)
        .slice(0, SOURCES_MOST)
        .map(([actor, count]) => ({ actor, count })),
    },
    sampleCallIds: [...pool.callIds],
    references: ['OWASP API1:2023', 'MITRE ATT&CK T1213'],
  };
  return publishAlert(episode, finding, nowMs);
}
