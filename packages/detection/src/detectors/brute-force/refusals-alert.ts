import type { Alert } from '@tripline/model';
import { publishAlert, rounded, tallied } from '../../alerts/alert.ts';
import { scoreOf } from '../../alerts/episode.ts';
import { topEndpoints } from '../../alerts/tally.ts';
import { DAY_MS } from '../../baseline/limits.ts';
import { STALE_SCORE, TRUSTED_WINDOWS, WINDOW_MS } from './limits.ts';
import { retryLoops } from './retry-loops.ts';
import type { Episode, Measure, Pattern, RefusalsState } from './refusals-state.ts';

const UNITS: Record<Pattern, string> = {
  guesses: 'guesses/h',
  accounts: 'accounts/h',
  keys: 'keys/h',
  failures: 'failures/h',
  daily: 'failures/day',
  stale: 'failures',
};
const REFERENCES: Record<Pattern, readonly string[]> = {
  guesses: ['OWASP API2:2023', 'MITRE ATT&CK T1110.001'],
  accounts: ['OWASP API2:2023', 'MITRE ATT&CK T1110.003', 'MITRE ATT&CK T1110.004'],
  keys: ['OWASP API2:2023', 'MITRE ATT&CK T1110'],
  failures: ['OWASP API2:2023', 'MITRE ATT&CK T1110'],
  daily: ['OWASP API2:2023', 'MITRE ATT&CK T1110'],
  stale: ['OWASP API2:2023'],
};

/** What an alert about a source that guesses rests on. */
export interface GuessingEvidence {
  pattern: Measure;
  windowMs: number;
  factor: number;
  learning: 'overall' | 'cold';
  learntHours: number;
  /** Largest within a window while it lasts; `failures` are those that show no new account, password or key. */
  most: Record<Measure, number>;
  successes: number;
  accounts: string[];
  opened: string[];
  endpoints: { endpoint: string; count: number }[];
}

/** What an alert about a stale credential rests on. */
export interface StaleEvidence {
  /** Mean time between two calls of the client that came last. */
  everyMs: number;
  /** Clients of the source that repeat a stale credential at present, up to LOOPS_KEPT. */
  clients: number;
  accounts: string[];
  endpoints: { endpoint: string; count: number }[];
}

export function scoreFor(episode: Episode): number {
  return episode.pattern === 'stale' ? STALE_SCORE : scoreOf(episode.factor);
}

/** The next revision about the open episode. */
export function publishRefusals(state: RefusalsState, status: Alert['status']): Alert {
  const episode = state.episode!;
  const { pattern } = episode;
  const unit = UNITS[pattern];
  return publishAlert<GuessingEvidence | StaleEvidence>(
    episode,
    {
      ...tallied(state.tally!),
      id: episode.id,
      type: pattern === 'stale' ? 'stale-credential' : 'brute-force',
      score: scoreFor(episode),
      actor: episode.actor,
      status,
      observed: { value: episode.value, unit },
      expected: { value: episode.usual, low: 0, high: episode.high, unit },
      summary: summaryOf(episode),
      evidence: pattern === 'stale' ? staleEvidence(state) : guessingEvidence(state, pattern),
      references: REFERENCES[pattern],
    },
    state.newestMs,
  );
}

// Copies, as the episode goes on growing and a published revision must not.
function guessingEvidence(state: RefusalsState, pattern: Measure): GuessingEvidence {
  const episode = state.episode!;
  return {
    pattern,
    windowMs: pattern === 'daily' ? DAY_MS : WINDOW_MS,
    factor: rounded(episode.factor, 2),
    learning: state.windows >= TRUSTED_WINDOWS ? 'overall' : 'cold',
    learntHours: state.windows,
    most: { ...episode.most },
    successes: episode.successes,
    accounts: [...episode.accounts],
    opened: [...episode.opened],
    endpoints: topEndpoints(state.tally!),
  };
}

function staleEvidence(state: RefusalsState): StaleEvidence {
  const { accounts, everyMs } = state.episode!;
  return {
    everyMs,
    clients: retryLoops(state.loops).length,
    accounts: [...accounts],
    endpoints: topEndpoints(state.tally!),
  };
}

function summaryOf({ actor, pattern, value, high, count, opened, everyMs }: Episode): string {
  const got = opened.length > 0 ? ` ${opened.length} of the accounts it tried were then opened.` : '';
  const limit = `up to ${high} ${pattern === 'daily' ? 'a day are' : 'an hour is'} accepted.${got}`;
  switch (pattern) {
    case 'guesses':
      return `${actor.name} tried ${value} different credentials for one account within an hour; ${limit}`;
    case 'accounts':
      return `${actor.name} failed to log in to ${value} different accounts within an hour; ${limit}`;
    case 'keys':
      return `${actor.name} presented ${value} different credentials that nobody knows within an hour; ${limit}`;
    case 'failures':
      return `${actor.name} was refused ${value} times within an hour for its credentials, which the lines do not show; ${limit}`;
    case 'daily':
      return `${actor.name} was refused ${value} times within a day for its credentials; ${limit}`;
    case 'stale':
      return (
        `${actor.name} was refused ${count} times, about every ${Math.max(1, Math.round(everyMs / 1_000))} s, with what looks like ` +
        'one and the same credential: expired, withdrawn or skewed, rather than guessed.'
      );
  }
}
