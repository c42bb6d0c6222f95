import { sampleHash } from '../../sketches/sample.ts';
import { MANY_ATTEMPTS, TRIES_PER_SUCCESS } from './limits.ts';
import type { FailedLogins, LoginOutcomes } from './logins.ts';

/** How many of the failed attempts nothing harmless explains. */
export interface Unexplained {
  /** Estimate that is rather too low than too high. */
  attempts: number;
  /** Their share of all failed attempts, 0 to 1, as likely too high as too low; 1 where nothing is known. */
  share: number;
}

/** Selects attempts by their key and hash, as in `FailedLogins.attempts`. */
export type AttemptFilter = (pair: string, hash: number) => boolean;

const nobody: ReadonlySet<string> = new Set();

/**
 * Who mistypes, or presents a token that ran out, gets in a moment later from the same address; who tries stolen passwords
 * does not. Each success of an address explains TRIES_PER_SUCCESS of its failures. Many addresses with one account are
 * explained as well: a fleet with a stale key, or one account under attack, which this measure need not find. Explained are also the
 * addresses in `covered`, which have an alert of their own, and addresses that try many keys: they are judged by address.
 *
 * Addresses that succeeded are sampled. Below the hash to which that sample is complete it is known of each attempt whether
 * its address got in; the share among those stands for all. The fewer they are, the less it is trusted (lower end of the
 * score interval of Wilson, "Probable inference", JASA 1927, with z = 2). An address with many of the attempts is judged by itself:
 * where it is not known whether it got in, it is taken not to have.
 */
export function unexplainedOf(outcomes: LoginOutcomes, covered: ReadonlySet<string> = nobody): Unexplained {
  const { failing } = outcomes;
  if (!failing) return { attempts: 0, share: 0 };
  const { perAddress, perAccount } = triersOf(failing);
  let known = 0;
  let unexplained = 0;
  for (const [ip, trier] of perAddress) {
    const share = unexplainedShare(outcomes, ip, trier, covered);
    if (share === undefined) continue;
    known += trier.attempts;
    unexplained += trier.attempts * share;
  }
  let oneAccount = 0;
  for (const attempts of perAccount.values()) if (attempts >= MANY_ATTEMPTS) oneAccount += attempts;
  const other = 1 - oneAccount / failing.attempts.size;

  const share = known === 0 ? 1 : unexplained / known;
  const isExact = known === failing.attempts.size && failing.attempts.completeTo === Infinity;
  const cautious = isExact ? share : wilsonLowerEnd(share, known);
  return {
    attempts: Math.round(failing.attempts.distinct() * cautious * other),
    share: share * other,
  };
}

/**
 * Estimates how many of the kept attempts that pass the filter nothing harmless explains, each judged by itself. An attempt of which
 * it is known whether its address got in stands for those of which it is not.
 */
export function unexplainedAmong(
  outcomes: LoginOutcomes,
  covered: ReadonlySet<string>,
  passes: AttemptFilter,
): number {
  const { failing, succeeded } = outcomes;
  if (!failing) return 0;
  const { perAddress, perAccount } = triersOf(failing);
  const standsFor = 1 / (succeeded?.rate ?? 1);
  let unexplained = 0;
  for (const [pair, { hash, value }] of failing.attempts.entries()) {
    const { ip, account } = value;
    if (!passes(pair, hash) || (perAccount.get(account) ?? 0) >= MANY_ATTEMPTS) continue;
    const trier = perAddress.get(ip)!;
    const share = unexplainedShare(outcomes, ip, trier, covered) ?? 0;
    unexplained += share * (isJudgedAlone(ip, trier) ? 1 : standsFor);
  }
  return unexplained;
}

/** Addresses that failed more often than mistyping explains and got in all the same; and as whom, as far as the calls show. */
export function openedSources({ failing, succeeded }: LoginOutcomes): { ip: string; accounts: string[] }[] {
  if (!failing || !succeeded) return [];
  return succeeded
    .sorted()
    .filter(([ip, { value }]) => (failing.sources.get(ip)?.failures ?? 0) > TRIES_PER_SUCCESS * value.calls)
    .map(([ip, { value }]) => ({ ip, accounts: [...value.names] }));
}

/** What one address tried. */
interface Trier {
  attempts: number;
  failures: number;
  /** Attempts on users, or without an account. The others present keys. */
  users: number;
}

/** How the tokens of users begin, other than those of keys. */
const USER_TOKEN = '~user~';

/** Who tried, and how many attempts there were on each account. */
function triersOf(failing: FailedLogins): {
  perAddress: Map<string, Trier>;
  perAccount: Map<string, number>;
} {
  const perAddress = new Map<string, Trier>();
  const perAccount = new Map<string, number>();
  for (const [, { value }] of failing.attempts.entries()) {
    const trier = perAddress.get(value.ip) ?? { attempts: 0, failures: 0, users: 0 };
    perAddress.set(value.ip, {
      attempts: trier.attempts + 1,
      failures: trier.failures + value.failures,
      users: trier.users + (value.account.startsWith(USER_TOKEN) || value.account === '' ? 1 : 0),
    });
    if (value.account !== '') perAccount.set(value.account, (perAccount.get(value.account) ?? 0) + 1);
  }
  return { perAddress, perAccount };
}

/** Share of the attempts of one address that nothing harmless explains; undefined if it is not known whether it got in. */
function unexplainedShare(
  { failing, succeeded }: LoginOutcomes,
  ip: string,
  trier: Trier,
  covered: ReadonlySet<string>,
): number | undefined {
  const { attempts, failures, users } = trier;
  if (covered.has(ip) || (attempts >= MANY_ATTEMPTS && users === 0)) return 0;
  if (!isJudgedAlone(ip, trier) && sampleHash(ip) > (succeeded?.completeTo ?? Infinity)) return undefined;
  const explained = (succeeded?.get(ip)?.calls ?? 0) * TRIES_PER_SUCCESS;
  const failed = failing?.sources.get(ip)?.failures ?? failures;
  return Math.max(0, 1 - explained / failed);
}

/** Whether an address is judged although the sample may not show that it got in. */
function isJudgedAlone(ip: string, { attempts }: Trier): boolean {
  return attempts >= MANY_ATTEMPTS || ip === '';
}

function wilsonLowerEnd(share: number, seen: number): number {
  if (seen === 0) return 0;
  const z = 2;
  const spread = z * Math.sqrt((share * (1 - share)) / seen + (z * z) / (4 * seen * seen));
  return Math.max(0, (share + (z * z) / (2 * seen) - spread) / (1 + (z * z) / seen));
}
