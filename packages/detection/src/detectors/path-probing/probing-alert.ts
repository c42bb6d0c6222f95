import type { Alert } from '@tripline/model';
import { publishAlert, rounded, tallied } from '../../alerts/alert.ts';
import { scoreOf } from '../../alerts/episode.ts';
import { statusClasses, topEndpoints } from '../../alerts/tally.ts';
import { CRAWLER_SCORE, PATHS_MOST, WINDOWS } from './limits.ts';
import type { ProbingState } from './probing-state.ts';

/** What an alert about paths that nobody was served rests on. */
export interface ProbingEvidence {
  /** Nothing is learnt: no actor asks for so many such paths by habit. */
  learning: 'fixed';
  factor: number;
  statuses: Record<string, number>;
  endpoints: { endpoint: string; count: number }[];
  examinedCalls: number;
  lateCalls: number;
}

/** The next revision about the open episode. */
export function publishProbing(state: ProbingState, status: Alert['status']): Alert {
  const episode = state.episode!;
  const tally = state.tally!;
  const { paths, high, score, actor } = episode;
  const { unit, word } = WINDOWS[episode.window]!;
  const factor = paths / high;
  const many = `${paths}${paths === PATHS_MOST ? ' or more' : ''}`;
  const isCrawler = score < Math.min(CRAWLER_SCORE + 1, scoreOf(factor));
  return publishAlert<ProbingEvidence>(
    episode,
    {
      ...tallied(tally),
      id: episode.id,
      type: 'path-probing',
      score,
      actor,
      status,
      observed: { value: paths, unit },
      expected: { value: 0, low: 0, high, unit },
      summary:
        `${actor.name} asked for ${many} different paths that nobody was served within ${word}; up to ${high} are accepted.` +
        (isCrawler ? ' It reads pages at a moderate pace, as a crawler with old links does.' : ''),
      evidence: {
        learning: 'fixed',
        factor: rounded(factor, 2),
        statuses: statusClasses(tally),
        endpoints: topEndpoints(tally),
        examinedCalls: tally.calls,
        lateCalls: state.late,
      },
      references: ['OWASP API9:2023', 'MITRE ATT&CK T1595.003'],
    },
    state.newestMs,
  );
}
