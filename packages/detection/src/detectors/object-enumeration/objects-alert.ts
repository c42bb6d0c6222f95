import type { Alert } from '@tripline/model';
import { publishAlert, rounded, tallied } from '../../alerts/alert.ts';
import { scoreOf } from '../../alerts/episode.ts';
import { statusClasses, topEndpoints } from '../../alerts/tally.ts';
import { COLD_DAYS, MISSED, PAGES, UNITS, WORDS } from './limits.ts';
import type { Episode, ObjectAlertType, ObjectsState } from './objects-state.ts';
import { orderOf } from './order.ts';

/** What an alert about objects and pages rests on. */
export interface ObjectsEvidence {
  learning: 'cold' | 'overall';
  learntDays: number;
  factor: number;
  /** Of ids: `sequential`, `reversed`, `strided`, `ascending`, `descending`, `random`. */
  order: string;
  objectsPerCall: number;
  largestLimit: number;
  failedShare: number;
  /** Above 1, `observed` is an estimate: one object in so many is counted. */
  countedOneIn: number;
  statuses: Record<string, number>;
  endpoints: { endpoint: string; count: number }[];
  /** The calls that all but `observed` is about: those near or over the threshold. */
  examinedCalls: number;
  lateCalls: number;
}

const REFERENCES: Record<ObjectAlertType, readonly string[]> = {
  'data-scraping': ['OWASP API6:2023', 'MITRE ATT&CK T1119'],
  'object-enumeration': ['OWASP API1:2023', 'MITRE ATT&CK T1213'],
};

/** The next revision about the open episode. */
export function publishObjects(state: ObjectsState, status: Alert['status']): Alert {
  const episode = state.episode!;
  const { tally, order, objects, limit } = state.examined!;
  const { what, value, high, top, weight, factor } = episode.worst;
  const unit = UNITS[what]!;
  const learning = state.knownDays < COLD_DAYS ? 'cold' : 'overall';
  const walk = orderOf(order);
  return publishAlert<ObjectsEvidence>(
    episode,
    {
      ...tallied(tally),
      id: episode.id,
      type: episode.type,
      score: scoreOf(factor),
      actor: episode.actor,
      status,
      observed: { value, unit },
      expected: { value: top, low: 0, high, unit },
      summary: summaryOf(episode, walk, learning, state.knownDays),
      evidence: {
        learning,
        learntDays: state.knownDays,
        factor: rounded(factor, 2),
        order: walk,
        objectsPerCall: rounded(objects / tally.calls, 1),
        largestLimit: limit,
        failedShare: rounded((tally.statuses.get('4xx') ?? 0) / tally.calls, 2),
        countedOneIn: weight,
        statuses: statusClasses(tally),
        endpoints: topEndpoints(tally),
        examinedCalls: tally.calls,
        lateCalls: state.late,
      },
      references: REFERENCES[episode.type],
    },
    state.newestMs,
  );
}

function summaryOf({ worst, actor }: Episode, walk: string, learning: string, days: number): string {
  const { what, value, high, top } = worst;
  const how = walk === 'unknown' || what === PAGES ? '' : `, ids in ${walk} order`;
  const did =
    what === PAGES
      ? `read ${value} KB of pages of lists that it had not read before`
      : what === MISSED
        ? `asked for ${value} objects that were refused or not there`
        : `asked for ${value} objects that it had not asked for before`;
  const normal =
    learning === 'cold'
      ? `up to ${high} is accepted without a baseline (${days} days learnt so far)`
      : `normal is up to ${high} (at most ${top} lately, ${days} days learnt)`;
  return `${actor.name} ${did} in ${WORDS[what]!}${how}; ${normal}.`;
}
