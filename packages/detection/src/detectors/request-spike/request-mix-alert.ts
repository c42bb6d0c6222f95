import type { Alert } from '@tripline/model';
import { publishAlert, rounded, tallied } from '../../alerts/alert.ts';
import { scoreOf } from '../../alerts/episode.ts';
import { statusClasses, topEndpoints } from '../../alerts/tally.ts';
import { REFERENCES } from './own-traffic-alert.ts';
import { MIX_WINDOW_MS, SHARE_SCALE } from './request-mix-limits.ts';
import type { Kind, MixFinding, MixState } from './request-mix-state.ts';

/** What an alert about calls of another kind rests on. */
export interface MixEvidence {
  kind: Kind;
  windowMs: number;
  factor: number;
  /** Nothing is judged before something is learnt. */
  learning: 'overall';
  learntWindows: number;
  sharePercent: number;
  usualSharePercent: number;
  latencyFactor: number;
  statuses: Record<string, number>;
  endpoints: { endpoint: string; count: number }[];
  examinedCalls: number;
}

/** The next revision about the open episode. */
export function publishMix(state: MixState, status: Alert['status'], nowMs: number): Alert {
  const episode = state.episode!;
  const tally = state.tally!;
  const { worst, actor } = episode;
  const factor = worst.value / worst.high;
  const calls = tallied(tally);
  const unit = worst.kind === 'bytes' ? 'times the usual bytes per call' : 'requests/10min';
  return publishAlert<MixEvidence>(
    episode,
    {
      ...calls,
      id: episode.id,
      type: 'request-spike',
      score: scoreOf(factor),
      actor,
      status,
      observed: { value: worst.value, unit },
      expected: { value: worst.expected, low: 0, high: worst.high, unit },
      summary: summaryOf(worst, actor.name, calls.endpoint, state.learnt),
      evidence: {
        kind: worst.kind,
        windowMs: MIX_WINDOW_MS,
        factor: rounded(factor, 2),
        learning: 'overall',
        learntWindows: state.learnt,
        sharePercent: percent(worst.share),
        usualSharePercent: percent(worst.usualShare),
        latencyFactor: worst.latencyFactor,
        statuses: statusClasses(tally),
        endpoints: topEndpoints(tally),
        examinedCalls: tally.calls,
      },
      references: REFERENCES,
    },
    nowMs,
  );
}

function percent(share: number): number {
  return rounded((100 * share) / SHARE_SCALE, 1);
}

function summaryOf(worst: MixFinding, name: string, endpoint: string | null, learnt: number): string {
  const { kind, value, high, share, usualShare } = worst;
  const learntFrom = `(learnt from ${learnt} windows of its own traffic)`;
  if (kind === 'bytes')
    return (
      `${name} was sent ${value} times as many bytes per call as usual on the same endpoints within 10 min; ` +
      `normal is up to ${high} times ${learntFrom}.`
    );
  const what = kind === 'cost' ? 'an expensive endpoint' : 'one endpoint';
  return (
    `${name} sent ${value} requests in 10 min to ${endpoint ?? what}, ${percent(share)} % of its calls` +
    `${kind === 'cost' && endpoint ? ', an expensive endpoint' : ''}; ` +
    `normal is up to ${high} and ${percent(usualShare)} % ${learntFrom}.`
  );
}
