import type { ApiCall } from '@tripline/model';
import { rounded } from '../../alerts/alert.ts';
import { alertActor } from '../../alerts/alert-actor.ts';
import { alertId, beginGrowing, closesAt, isNews, scoreOf } from '../../alerts/episode.ts';
import { newTally, tallyCall } from '../../alerts/tally.ts';
import { LOG_SCALE, STEP_MS } from '../../baseline/limits.ts';
import { toleranceOf, type Tolerance } from '../../baseline/sensitivity.ts';
import type { ActorProfileKind, DetectionOutput } from '../../detector.ts';
import { compileExceptions } from '../../exception.ts';
import { asActorSettings } from '../../settings.ts';
import { objectHash } from '../../sketches/seen.ts';
import { publishMix } from './request-mix-alert.ts';
import {
  BYTES_DEVIATIONS,
  BYTES_FACTOR_LOG,
  CALLS_LEAST,
  CALLS_MOST,
  SHARE_SCALE,
  ENDPOINTS_KEPT,
  ENDPOINT_CALLS_LEAST,
  ENDPOINT_FACTOR_LOG,
  EXPENSIVE_FACTOR,
  LEVEL_MEMORY,
  LEVEL_STEP_LOG,
  MIX_WINDOW_MS,
  RARE_SHARE,
  SEEN_LEAST,
  SEEN_MOST,
  SHARE_HIGH,
  SHARE_MEMORY,
  SIZED_LEAST,
  TOP_FADE_WINDOWS,
  WINDOWS_LEAST,
} from './request-mix-limits.ts';
import {
  decodeMix,
  encodeMix,
  newMix,
  type MixFinding,
  type MixState,
  type Usage,
} from './request-mix-state.ts';

/**
 * Whether what an actor asks for has changed while the number of its calls is ordinary: calls that gather on one endpoint or an
 * expensive one, and responses that are many times as large. Only actors with a credential: an address is many people, or one who is
 * gone tomorrow.
 */
export const requestMix: ActorProfileKind<MixState> = {
  id: 6,
  version: 2,
  create(settingsOf) {
    const settings = asActorSettings(settingsOf('request-spike'));
    const isExcepted = compileExceptions(settings);
    const limits = limitsAt(toleranceOf(settings.sensitivity));
    return {
      create: (call) => (call.actorKind === 'address' || isExcepted(call) ? undefined : newMix()),
      fold(state, call, { inSpike }, out) {
        if (isExcepted(call)) close(state, call.startedAt, limits, out);
        else fold(state, call, inSpike, limits, out);
      },
      close: (state, nowMs, out) => close(state, nowMs, limits, out),
      closesAt: (state) => {
        if (isPending(state)) return endOf(state.window);
        return state.episode ? closesAt(state.episode) : undefined;
      },
      encode: encodeMix,
      decode: decodeMix,
    };
  },
};

/** How much is allowed, at the sensitivity that is set. Shares are not: they make it another mix. */
interface Limits {
  endpointCalls: number;
  endpointFactorLog: number;
  bytesFactorLog: number;
  bytesDeviations: number;
  /** Those at `normal`, where these are stricter: what is not above them is learnt, alert or not. */
  normal?: Limits;
}

function limitsAt(tolerance: Tolerance): Limits {
  return {
    endpointCalls: tolerance.count(ENDPOINT_CALLS_LEAST),
    endpointFactorLog: tolerance.factorLog(ENDPOINT_FACTOR_LOG),
    bytesFactorLog: tolerance.factorLog(BYTES_FACTOR_LOG),
    bytesDeviations: tolerance.deviations(BYTES_DEVIATIONS),
    ...(tolerance.isStrict ? { normal: limitsAt(toleranceOf('normal')) } : {}),
  };
}

/** Something noteworthy is in the window, and no call may come that judges it. */
function isPending({ tally, calls }: MixState): boolean {
  return tally !== null && calls > 0;
}

function endOf(window: number): number {
  return (window + 1) * MIX_WINDOW_MS;
}

function logOf(value: number): number {
  return Math.round(Math.log1p(value) * LOG_SCALE);
}

function fold(state: MixState, call: ApiCall, inSpike: boolean, limits: Limits, out: DetectionOutput): void {
  const atMs = call.startedAt;
  const window = Math.floor(atMs / MIX_WINDOW_MS);
  // Shares need no late call; what was judged stays judged.
  if (window < state.window) return;
  close(state, atMs, limits, out);
  if (window > state.window) {
    settle(state, limits, out);
    state.window = window;
  }
  if (inSpike) state.inSpike = true;
  // Clients repeat by themselves what the server failed, on that endpoint only.
  if (call.status >= 500 || call.status === 499) return;
  state.calls++;
  const usage = usageOf(state, objectHash(call.endpoint, 0));
  let isLarge = false;
  if (usage) {
    usage.calls = Math.min(CALLS_MOST, usage.calls + 1);
    // Errors are short and quick, and the server's.
    if (call.status < 400) isLarge = sizeCall(state, usage, call, limits);
  }
  if (!isLarge && !isCrowded(state, usage, limits)) return;
  tallyCall((state.tally ??= newTally()), call, false);
  state.actor ??= alertActor(call);
  state.newestMs = Math.max(state.newestMs, atMs);
}

/** Whether the calls of the window begin to gather on the endpoint. */
function isCrowded(state: MixState, usage: Usage | undefined, limits: Limits): boolean {
  return (
    usage !== undefined &&
    usage.calls >= limits.endpointCalls / 2 &&
    usage.calls * SHARE_SCALE >= (SHARE_HIGH / 2) * state.calls &&
    state.learnt >= WINDOWS_LEAST &&
    logOf(usage.calls) > usage.top
  );
}

/** The endpoint's entry, a new one if there is room; undefined if there is none. */
function usageOf(state: MixState, hash: number): Usage | undefined {
  const { usages } = state;
  for (const usage of usages) if (usage.hash === hash) return usage;
  const fresh = { hash, share: 0, top: 0, latest: 0, bytes: 0, latency: 0, seen: 0, calls: 0 };
  if (usages.length < ENDPOINTS_KEPT) {
    usages.push(fresh);
    return fresh;
  }
  let rarest = 0;
  for (let at = 1; at < usages.length; at++) if (usages[at]!.share < usages[rarest]!.share) rarest = at;
  const { share, calls } = usages[rarest]!;
  if (share >= RARE_SHARE || calls > 0) return undefined;
  usages[rarest] = fresh;
  return fresh;
}

/** Compares a successful call with the levels of its endpoint and lets them follow; true if it is far larger than usual. */
function sizeCall(state: MixState, usage: Usage, call: ApiCall, { bytesFactorLog }: Limits): boolean {
  const bytes = logOf(call.responseBytes) - usage.bytes;
  const latency = logOf(call.latencyMs) - usage.latency;
  if (usage.seen < SEEN_LEAST) {
    // The mean of the first window's calls, then as below.
    const rate = usage.seen === 0 ? 1 / usage.calls : 1 / LEVEL_MEMORY;
    usage.bytes += Math.round(bytes * rate);
    usage.latency += Math.round(latency * rate);
    return false;
  }
  state.sized++;
  state.bytesExcess += bytes;
  state.latencyExcess += latency;
  if (!state.episode && !state.inSpike) {
    usage.bytes += followed(bytes);
    usage.latency += followed(latency);
  }
  return bytes > bytesFactorLog && state.learnt >= WINDOWS_LEAST;
}

function followed(difference: number): number {
  return Math.round(Math.max(-LEVEL_STEP_LOG, Math.min(LEVEL_STEP_LOG, difference)) / LEVEL_MEMORY);
}

/** Ends the window: judges it, learns it if there is nothing against it, and begins an empty one. */
function settle(state: MixState, limits: Limits, out: DetectionOutput): void {
  if (state.calls >= CALLS_LEAST && !state.inSpike) {
    const finding = state.learnt >= WINDOWS_LEAST ? worstOf(state, limits) : undefined;
    const { episode } = state;
    // What has lasted for a day is how things are now.
    if (episode && finding && endOf(state.window) - episode.startedAt > STEP_MS) {
      closeEpisode(state, out);
      if (state.sized > 0) {
        const shift = Math.max(0, Math.round(state.bytesExcess / state.sized));
        for (const usage of state.usages) usage.bytes += shift;
        state.bytesExcess = 0;
      }
      learn(state);
    } else if (finding && state.tally) {
      exceeded(state, finding, out);
      if (limits.normal && !worstOf(state, limits.normal)) learn(state);
    } else if (!episode) learn(state);
  }
  state.window++;
  state.calls = state.sized = state.bytesExcess = state.latencyExcess = 0;
  state.inSpike = false;
  for (const usage of state.usages) usage.calls = 0;
  if (!state.episode) {
    state.tally = null;
    state.actor = null;
  }
}

function worstOf(state: MixState, limits: Limits): MixFinding | undefined {
  const { calls, sized } = state;
  const { endpointCalls, endpointFactorLog, bytesFactorLog, bytesDeviations } = limits;
  const latencyFactor = sized === 0 ? 1 : rounded(Math.exp(state.latencyExcess / sized / LOG_SCALE), 1);
  let worst: MixFinding | undefined;
  for (const usage of state.usages) {
    const share = Math.round((SHARE_SCALE * usage.calls) / calls);
    if (usage.seen < SEEN_LEAST || share < SHARE_HIGH) continue;
    const factor = Math.exp(ENDPOINT_FACTOR_LOG / LOG_SCALE);
    const high = Math.max(endpointCalls, Math.floor(Math.expm1((usage.top + endpointFactorLog) / LOG_SCALE)));
    if (usage.calls <= high || share <= factor * usage.share) continue;
    worst = {
      kind: isExpensive(state, usage) ? 'cost' : 'endpoint',
      hash: usage.hash,
      value: usage.calls,
      expected: Math.round((usage.share * calls) / SHARE_SCALE),
      high,
      share,
      usualShare: usage.share,
      latencyFactor,
    };
  }
  const bytesHigh = Math.max(bytesFactorLog, bytesDeviations * state.bytesDeviation);
  if (sized < SIZED_LEAST || state.bytesExcess <= bytesHigh * sized) return worst;
  const bytes: MixFinding = {
    kind: 'bytes',
    hash: 0,
    value: rounded(Math.exp(state.bytesExcess / sized / LOG_SCALE), 1),
    expected: 1,
    high: Math.floor(10 * Math.exp(bytesHigh / LOG_SCALE)) / 10,
    share: SHARE_SCALE,
    usualShare: SHARE_SCALE,
    latencyFactor,
  };
  return worst && worst.value / worst.high >= bytes.value / bytes.high ? worst : bytes;
}

/** Whether its calls take far longer than the actor's others usually do, by what was learnt: slow servers are not its doing. */
function isExpensive(state: MixState, usage: Usage): boolean {
  let sum = 0;
  let shares = 0;
  for (const other of state.usages) {
    sum += other.share * Math.expm1(other.latency / LOG_SCALE);
    shares += other.share;
  }
  return Math.expm1(usage.latency / LOG_SCALE) * shares >= EXPENSIVE_FACTOR * sum;
}

/** Learns a window without findings. */
function learn(state: MixState): void {
  const { calls, sized } = state;
  state.learnt++;
  const rate = Math.max(1 / state.learnt, 1 / SHARE_MEMORY);
  for (const usage of state.usages) {
    const difference = Math.round((SHARE_SCALE * usage.calls) / calls) - usage.share;
    usage.share += Math.round(difference * rate);
    if (state.learnt % TOP_FADE_WINDOWS === 0 && usage.top > 0) usage.top--;
    usage.top = Math.max(usage.top, usage.latest);
    usage.latest = logOf(usage.calls);
    if (usage.calls === 0) continue;
    usage.seen = Math.min(SEEN_MOST, usage.seen + 1);
  }
  if (sized < CALLS_LEAST) return;
  const deviation = Math.abs(state.bytesExcess / sized);
  state.bytesDeviation += Math.round((deviation - state.bytesDeviation) * rate);
}

/** Raises an alert because of the window, or lets the open one grow. */
function exceeded(state: MixState, finding: MixFinding, out: DetectionOutput): void {
  const endsAt = endOf(state.window);
  const count = finding.hash === 0 ? state.calls : finding.value;
  const { episode } = state;
  // The window before was most likely its beginning.
  for (const usage of state.usages) usage.latest = 0;
  if (!episode) {
    const startedAt = state.window * MIX_WINDOW_MS;
    const actor = state.actor!;
    state.episode = {
      id: alertId('request-spike', `${actor.kind}:${actor.id}`, finding.kind, startedAt),
      actor,
      ...beginGrowing(startedAt, endsAt, state.newestMs, count),
      worst: finding,
    };
    out.alert(publishMix(state, 'open', endsAt));
    return;
  }
  episode.lastSeenAt = Math.max(episode.lastSeenAt, state.newestMs);
  episode.count += count;
  const { worst } = episode;
  if (finding.kind === worst.kind && finding.value / finding.high > worst.value / worst.high)
    episode.worst = finding;
  if (isNews(episode, scoreOf(episode.worst.value / episode.worst.high), endsAt))
    out.alert(publishMix(state, 'open', endsAt));
}

function close(state: MixState, nowMs: number, limits: Limits, out: DetectionOutput): void {
  if (isPending(state)) {
    // First the window: it may make the episode longer.
    if (nowMs < endOf(state.window)) return;
    settle(state, limits, out);
  }
  const { episode } = state;
  if (!episode || nowMs < closesAt(episode)) return;
  closeEpisode(state, out);
  state.tally = null;
  state.actor = null;
}

function closeEpisode(state: MixState, out: DetectionOutput): void {
  out.alert(publishMix(state, 'closed', closesAt(state.episode!)));
  state.episode = null;
}
