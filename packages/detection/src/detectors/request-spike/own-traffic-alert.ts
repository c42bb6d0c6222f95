import type { Alert } from '@tripline/model';
import { publishAlert, rounded, tallied } from '../../alerts/alert.ts';
import { scoreOf } from '../../alerts/episode.ts';
import { statusClasses, topEndpoints } from '../../alerts/tally.ts';
import { CALL_WEIGHT, WINDOW_MS, WINDOW_UNITS, WINDOW_WORDS } from '../../baseline/limits.ts';
import type { Learning } from '../../baseline/profile.ts';
import { SIX_HOURS_MS } from '../../baseline/six-hours.ts';
import { acceptedUpTo } from '../../baseline/window-counts.ts';
import type { Episode, OwnTrafficState } from './own-traffic-state.ts';

export const REFERENCES = ['OWASP API4:2023', 'MITRE ATT&CK T1499'] as const;

/** Size of the window of six hours, after the three of window counts. */
export const SIX_HOURS = WINDOW_MS.length;
/** By size of window. */
const SPAN_MS = [...WINDOW_MS, SIX_HOURS_MS] as const;
const UNITS = [...WINDOW_UNITS, 'requests/6h'] as const;
const WORDS = [...WINDOW_WORDS, '6 h'] as const;

/** What an alert about an actor's own traffic rests on. */
export interface OwnTrafficEvidence {
  windowMs: number;
  windowStartsAt: number;
  factor: number;
  learning: Learning;
  learntHours: number;
  /** Server failures weigh 1/64 in `observed`: repeating a call that the server failed is no attack. */
  serverErrors: number;
  statuses: Record<string, number>;
  endpoints: { endpoint: string; count: number }[];
  /** The calls that sources, statuses and endpoints are about: those near or over the threshold. */
  examinedCalls: number;
  lateCalls: number;
}

/** The next revision about the open episode. */
export function publishOwnTraffic(state: OwnTrafficState, status: Alert['status']): Alert {
  const episode = state.episode!;
  const tally = state.tally!;
  const { worst, actor } = episode;
  const unit = UNITS[worst.size]!;
  const value = Math.round(worst.count / CALL_WEIGHT);
  const high = Math.floor(worst.high / CALL_WEIGHT);
  const calls = tallied(tally);
  const service = episode.service ?? calls.service;
  return publishAlert<OwnTrafficEvidence>(
    episode,
    {
      ...calls,
      id: episode.id,
      type: 'request-spike',
      score: scoreOf(worst.factor),
      actor,
      service: service === '' ? null : service,
      status,
      observed: { value, unit },
      expected: { value: rounded(worst.expected / CALL_WEIGHT, 1), low: 0, high, unit },
      summary: summaryOf(episode, value, high, service),
      evidence: {
        windowMs: SPAN_MS[worst.size]!,
        windowStartsAt: worst.startsAt,
        factor: rounded(worst.factor, 2),
        learning: worst.learning,
        learntHours: worst.learntHours,
        serverErrors: tally.serverErrors,
        statuses: statusClasses(tally),
        endpoints: topEndpoints(tally),
        examinedCalls: tally.calls,
        lateCalls: episode.late,
      },
      references: REFERENCES,
    },
    state.newestMs,
  );
}

function summaryOf(episode: Episode, value: number, high: number, service: string | null): string {
  const { worst, actor } = episode;
  const sent = `${actor.name} sent ${value} requests in ${WORDS[worst.size]!}${service ? ` to ${service}` : ''}`;
  if (worst.learning !== 'seasonal') return `${sent}; ${acceptedUpTo(high, worst)}.`;
  const time = worst.size === SIX_HOURS ? 'this time of day' : 'this hour';
  return `${sent}; normal for ${time} is up to ${high} (learnt from ${worst.learntHours} h of its own traffic).`;
}
