import type { EndpointName } from '../../across-actors/endpoint-id.ts';
import { endpointId } from '../../across-actors/endpoint-id.ts';
import { ENDPOINT_WINDOW_MS } from '../../across-actors/limits.ts';
import type {
  AlertOutput,
  EndpointJudge,
  JudgedMinute,
  MinutePartKind,
} from '../../across-actors/minute-part.ts';
import { LATENESS_MS, WINDOW_MS } from '../../baseline/limits.ts';
import { noPeers } from '../../baseline/profile.ts';
import { toleranceOf, type Tolerance } from '../../baseline/sensitivity.ts';
import { settle, settlesAt } from '../../baseline/window-counts.ts';
import type { ByteReader } from '../../codec/byte-reader.ts';
import type { ByteWriter } from '../../codec/byte-writer.ts';
import type { EndpointSettings } from '../../settings.ts';
import { globToRegExp } from '../../glob.ts';
import { bruteForceGroup } from '../brute-force/group.ts';
import { addOpened, advanceAccounts } from './accounts.ts';
import { countAttempts, judgeDay, judgeWindows } from './judge-attempts.ts';
import { judgeStrangers } from './judge-strangers.ts';
import { FAILURES_OF_NOTE } from './limits.ts';
import { LOGINS_VERSION, readLogins, writeLogins } from './logins-codec.ts';
import { addLogin, mergeLogins, mergeOutcomes, newLogins, newOutcomes, type Logins } from './logins.ts';
import { readStuffing, STUFFING_STATE_VERSION, writeStuffing } from './stuffing-codec.ts';
import { endEpisode, episodeEndsAt, goOn } from './stuffing-episode.ts';
import { newStuffingState, type Judgement, type StuffingState } from './stuffing-state.ts';
import { attemptFloors, countMinute } from './usual-attempts.ts';

/** Logins of an endpoint: do many addresses try lists of accounts on it? */
export const loginsAcrossActors: MinutePartKind<Logins, StuffingState> = {
  id: 1,
  partVersion: LOGINS_VERSION,
  stateVersion: STUFFING_STATE_VERSION,
  newPart: newLogins,
  createCounter: () => ({ add: addLogin }),
  merge: mergeLogins,
  encode: (logins, writer) => writeLogins(writer, logins),
  decode: readLogins,
  createJudge: (settingsOf) =>
    new StuffingJudge(
      settingsOf('credential-stuffing') as EndpointSettings,
      settingsOf('brute-force').dryRun,
    ),
};

class StuffingJudge implements EndpointJudge<Logins, StuffingState> {
  readonly enabled: boolean;
  readonly #tolerance: Tolerance;
  readonly #isExcepted: (minute: JudgedMinute) => boolean;
  /** An open alert takes in what single addresses do, unless that would hide it in an alert that is only tried out. */
  readonly #absorbs: boolean;

  constructor(settings: EndpointSettings, isBruteForceDryRun: boolean) {
    this.enabled = settings.enabled;
    this.#tolerance = toleranceOf(settings.sensitivity);
    this.#isExcepted = compileEndpointExceptions(settings);
    this.#absorbs = !settings.dryRun || isBruteForceDryRun;
  }

  isOfNote({ failures, successes, tried }: Logins, minute: JudgedMinute): boolean {
    if (!this.enabled || this.#isExcepted(minute)) return false;
    return failures >= FAILURES_OF_NOTE || (successes > 0 && (failures > 0 || tried !== null));
  }

  newState(): StuffingState {
    return newStuffingState(attemptFloors(0, this.#tolerance));
  }

  judge(state: StuffingState, part: Logins | undefined, minute: JudgedMinute, out: AlertOutput): void {
    if (!this.enabled || this.#isExcepted(minute))
      this.close(state, minute, minute.judgedAt - ENDPOINT_WINDOW_MS, out);
    else {
      const logins = part ?? newLogins();
      const covered = coveredAddresses(state, minute);
      judgeMinute(state, { minute, logins, covered, tolerance: this.#tolerance, out });
    }
    if (this.#absorbs) absorbFindings(state, minute);
  }

  close(state: StuffingState, of: EndpointName, nowMs: number, out: AlertOutput): void {
    if (state.episode && nowMs >= episodeEndsAt(state.episode)) out.alert(endEpisode(state, of, nowMs));
  }

  closesAt({ episode }: StuffingState): number | undefined {
    return episode ? episodeEndsAt(episode) : undefined;
  }

  encode(state: StuffingState, writer: ByteWriter): void {
    writeStuffing(writer, state);
  }

  decode(reader: ByteReader): StuffingState {
    return readStuffing(reader, this.#tolerance);
  }
}

function judgeMinute(state: StuffingState, judgement: Judgement): void {
  const { minute, logins, tolerance, out } = judgement;
  const atMs = minute.startsAt;
  if (atMs < state.newestMs - LATENESS_MS) {
    state.late += logins.failures;
    return;
  }
  if (state.episode && atMs >= episodeEndsAt(state.episode))
    out.alert(endEpisode(state, minute, minute.judgedAt));
  advanceTo(state, atMs);

  const counts = countAttempts(state, judgement);
  const isNewHour = countMinute(state, atMs, counts, tolerance);
  if (isNewHour) judgeDay(state, judgement);
  if (logins.failures > 0) mergeOutcomes((state.dayPool ??= newOutcomes()), logins);
  if (logins.tried) judgeStrangers(state, judgement, logins.tried);
  judgeWindows(state, judgement, counts.unexplained);
}

/** Moves event time on to the minute that begins at `atMs`: hours that are over are learnt. */
function advanceTo(state: StuffingState, atMs: number): void {
  advanceAccounts(state.memory, atMs, state.episode !== null);
  if (atMs > state.newestMs) {
    if (!state.episode && longWindowOf(atMs) !== longWindowOf(state.newestMs)) state.pool = null;
    state.newestMs = atMs;
  }
  if (state.newestMs >= settlesAt(state.windows))
    settle(state.windows, noPeers(), state.newestMs, state.episode?.startedAt ?? Infinity, false);
}

function longWindowOf(atMs: number): number {
  return Math.floor(atMs / WINDOW_MS[2]);
}

/**
 * Addresses with an alert of their own, or that get one with this minute: ignored when judging the whole endpoint. While an episode is
 * open, new findings become part of it instead.
 */
function coveredAddresses(state: StuffingState, minute: JudgedMinute): Set<string> {
  const { part: findings, state: group } = minute.of(bruteForceGroup);
  const covered = new Set(group?.episode?.findings.keys());
  if (state.episode === null) for (const { actor } of findings?.values() ?? []) covered.add(actor.id);
  return covered;
}

/** Takes the findings about single addresses that no alert of their own covers yet into the open episode. */
function absorbFindings({ episode, memory }: StuffingState, minute: JudgedMinute): void {
  if (episode === null) return;
  const { part: findings, state: group } = minute.of(bruteForceGroup);
  for (const finding of findings?.values() ?? []) {
    if (group?.episode?.findings.has(finding.actor.id) === true) continue;
    findings!.delete(finding.id);
    goOn(episode, finding.lastSeenAt);
    for (const account of finding.evidence.opened) addOpened(memory, account, finding.actor.id);
  }
}

/** Tells whether a minute is left out: its endpoint is out of scope, or in an announced window. */
function compileEndpointExceptions(settings: EndpointSettings): (minute: JudgedMinute) => boolean {
  const scope = settings.scope?.endpoints.map(globToRegExp);
  const exceptions = settings.exceptions.map(({ endpoints, from, until }) => ({
    patterns: endpoints.map(globToRegExp),
    fromMs: Date.parse(from),
    untilMs: Date.parse(until),
  }));
  return (minute) => {
    const id = endpointId(minute);
    if (scope && !scope.some((pattern) => pattern.test(id))) return true;
    const { startsAt } = minute;
    return exceptions.some(
      ({ patterns, fromMs, untilMs }) =>
        startsAt + ENDPOINT_WINDOW_MS > fromMs &&
        startsAt < untilMs &&
        patterns.some((pattern) => pattern.test(id)),
    );
  };
}
