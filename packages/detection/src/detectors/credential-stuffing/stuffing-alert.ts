import type { Alert } from '@tripline/model';
import { aboutEndpoint } from '../../across-actors/about-endpoint.ts';
import { endpointId, type EndpointName } from '../../across-actors/endpoint-id.ts';
import { largestShares, percent } from '../../across-actors/shares.ts';
import { publishAlert } from '../../alerts/alert.ts';
import { scoreOf } from '../../alerts/episode.ts';
import { alertSources } from '../../alerts/tally.ts';
import { CALL_WEIGHT, SAMPLES_MOST } from '../../baseline/limits.ts';
import { acceptedUpTo } from '../../baseline/window-counts.ts';
import { usualShare, type Stranger } from './accounts.ts';
import { OPENED_MOST } from './limits.ts';
import { newOutcomes, type FailedCall, type LoginOutcomes } from './logins.ts';
import { MEASURES } from './measures.ts';
import type { StuffingEpisode, StuffingState } from './stuffing-state.ts';
import { openedSources } from './unexplained.ts';

const REFERENCES = ['OWASP API2:2023', 'MITRE ATT&CK T1110.004'];

/** The next revision of the open episode's alert. */
export function stuffingAlert(
  state: StuffingState,
  episode: StuffingEpisode,
  of: EndpointName,
  status: Alert['status'],
  nowMs: number,
): Alert {
  const { worst } = episode;
  const score = scoreOf(worst.factor);
  const { isOfDay } = MEASURES[worst.measure];
  const pool = (isOfDay ? state.dayPool : state.pool) ?? newOutcomes();
  const strangers = [...state.memory.strangers.values()].filter(({ atMs }) => atMs >= episode.startedAt);
  const found = foundIn(worst.measure, pool, strangers);
  const opened = openedBy(state, pool);
  const id = endpointId(of);
  const unit = worst.measure;
  const value = Math.round(worst.count / CALL_WEIGHT);
  const high = Math.floor(worst.high / CALL_WEIGHT);
  const finding = {
    id: episode.id,
    type: 'credential-stuffing' as const,
    score,
    ...aboutEndpoint(of),
    status,
    observed: { value, unit },
    expected: { value: Math.round((worst.expected / CALL_WEIGHT) * 10) / 10, low: 0, high, unit },
    summary: summaryOf(id, episode, value, high, found, opened.size),
    sources: found.sources,
    evidence: evidenceOf(state, episode, pool, found, strangers.length, opened),
    sampleCallIds: found.calls.slice(0, SAMPLES_MOST).map(({ callId }) => callId),
    references: [...REFERENCES],
  };
  return publishAlert(episode, finding, nowMs);
}

/** What an alert describes: either the strangers, or the failed logins. */
interface Found {
  addresses: number;
  accounts: number;
  /** The tries of the strangers, or a fair sample of the failed calls. */
  calls: (Omit<FailedCall, 'userAgent'> & { callId: string; userAgent: string | null })[];
  sources: Alert['sources'];
}

function foundIn(
  measure: StuffingEpisode['worst']['measure'],
  pool: LoginOutcomes,
  strangers: Stranger[],
): Found {
  if (MEASURES[measure].isOfStrangers)
    return {
      addresses: new Set(strangers.map(({ ip }) => ip)).size,
      accounts: strangers.length,
      calls: strangers.map((one) => ({ ...one, userAgent: null })),
      sources: alertSources(strangers.map((one) => ({ ...one, count: 1 }))),
    };
  const { failing } = pool;
  const sources = failing?.sources.sorted() ?? [];
  return {
    addresses: failing?.sources.distinct() ?? 0,
    accounts: failing?.accounts.distinct() ?? 0,
    calls: (failing?.calls.sorted() ?? []).map(([callId, { value }]) => ({ ...value, callId })),
    sources: alertSources(sources.map(([ip, { value }]) => ({ ...value, ip, count: value.failures }))),
  };
}

function evidenceOf(
  { memory }: StuffingState,
  episode: StuffingEpisode,
  pool: LoginOutcomes,
  found: Found,
  strangers: number,
  opened: ReadonlyMap<string, ReadonlySet<string>>,
): Alert['evidence'] {
  const { worst } = episode;
  const { failing } = pool;
  const sharesOf = <Value extends string | number>(values: (Value | null)[]) =>
    largestShares(values.map((value) => [value, 1] as const));
  return {
    windowMs: MEASURES[worst.measure].spanMs,
    windowStartsAt: worst.startsAt,
    factor: Math.round(worst.factor * 100) / 100,
    learning: worst.learning,
    learntHours: worst.learntHours,
    failureRatio: episode.ratio,
    usualFailureRatio: episode.usualRatio,
    // Estimates from 64 on, see `Sample`; accounts as far as the lines show them, 0 if they do not.
    distinctAddresses: found.addresses,
    distinctAccounts: found.accounts,
    distinctAttempts: failing?.attempts.distinct() ?? 0,
    // Accounts of the last 24 hours that were tried from origins that they never came from.
    triedFromElsewhere: strangers,
    failures: pool.failures,
    refusedByKong: failing?.byKong ?? 0,
    successes: pool.successes,
    serverErrors: pool.serverErrors,
    // `usualShare`: share of the known accounts that came from there before.
    networks: sharesOf(found.calls.map(({ asn }) => asn)).map((one) => ({
      ...one,
      usualShare: usualShare(memory, { asn: one.value }),
    })),
    countries: sharesOf(found.calls.map(({ country }) => country)).map((one) => ({
      ...one,
      usualShare: usualShare(memory, { country: one.value }),
    })),
    userAgents: sharesOf(found.calls.map(({ userAgent }) => userAgent)),
    // Who got in from an origin that the account never came from, or after more failures than mistyping explains.
    opened: [...opened].map(([ip, names]) => ({ ip, accounts: [...names] })),
    lateFailures: episode.late,
  };
}

/** Accounts that were opened, by address: at most OPENED_MOST addresses. */
function openedBy({ memory }: StuffingState, pool: LoginOutcomes): Map<string, Set<string>> {
  const opened = new Map<string, Set<string>>();
  const add = (ip: string, accounts: readonly string[]): void => {
    const known = opened.get(ip);
    if (known) for (const account of accounts) known.add(account);
    else if (opened.size < OPENED_MOST) opened.set(ip, new Set(accounts));
  };
  for (const [account, ip] of memory.opened) add(ip, [account]);
  for (const { ip, accounts } of openedSources(pool)) add(ip, accounts);
  return opened;
}

function summaryOf(
  id: string,
  { worst, ratio, usualRatio }: StuffingEpisode,
  value: number,
  high: number,
  { addresses, accounts }: Found,
  opened: number,
): string {
  const { span, isOfStrangers } = MEASURES[worst.measure];
  const from = `from about ${addresses} ${addresses === 1 ? 'address' : 'addresses'}`;
  const on = accounts > 0 ? ` on about ${accounts} ${accounts === 1 ? 'account' : 'accounts'}` : '';
  const usual = usualRatio === null ? '' : `, usually ${percent(usualRatio)}`;
  const got = opened > 0 ? ` ${opened} of these addresses got in.` : '';
  const seen = isOfStrangers
    ? `${value} accounts tried in ${span} from countries, or networks and clients, that they never came from`
    : `${value} attempts with credentials that failed in ${span}, ${from}${on}`;
  return `${id}: ${seen}; ${acceptedUpTo(high, worst)}. ${percent(ratio)} of the logins failed${usual}.${got}`;
}
