import type { Alert } from '@tripline/model';
import { publishAlert, tallied } from '../../alerts/alert.ts';
import { statusClasses, topEndpoints } from '../../alerts/tally.ts';
import type { Episode } from './abnormal-parameter-state.ts';

/** What an alert about abnormal parameters rests on. */
export interface ParameterEvidence {
  /** In plain words, those of the worst call first. */
  reasons: string[];
  learning: 'learnt' | 'young';
  learntCalls: number;
  learntSince: number;
  endpoints: { endpoint: string; count: number }[];
  statuses: Record<string, number>;
}

/** The next revision about the episode. */
export function publishParameters(episode: Episode, status: Alert['status'], atMs: number): Alert {
  const { tally } = episode;
  const calls = tallied(tally);
  const unit = 'surprise of 100';
  return publishAlert<ParameterEvidence>(
    episode,
    {
      ...calls,
      id: episode.id,
      type: 'abnormal-parameter',
      score: episode.score,
      actor: episode.actor,
      status,
      observed: { value: episode.score, unit },
      expected: { value: 0, low: 0, high: episode.high, unit },
      summary:
        `${episode.actor.name} sent unusual parameters to ${calls.endpoint ?? `${tally.endpoints.size} endpoints`} in ` +
        `${episode.count} ${episode.count === 1 ? 'call' : 'calls'}: ${episode.reasons[0]} ` +
        `(learnt from ${episode.learntCalls} calls).`,
      evidence: {
        reasons: episode.reasons,
        learning: episode.mature ? 'learnt' : 'young',
        learntCalls: episode.learntCalls,
        learntSince: episode.learntSince,
        endpoints: topEndpoints(tally),
        statuses: statusClasses(tally),
      },
      references: [
        'OWASP API8:2023',
        ...(episode.weaknesses.includes('CWE-915') ? ['OWASP API3:2023'] : []),
        ...(episode.weaknesses.includes('CWE-918') ? ['OWASP API7:2023'] : []),
        'MITRE ATT&CK T1190',
        ...(episode.weaknesses.length > 0 ? episode.weaknesses : ['CWE-20']),
      ],
    },
    atMs,
  );
}
