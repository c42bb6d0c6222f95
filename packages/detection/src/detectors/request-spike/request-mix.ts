import { severityOf, type Alert, type AlertActor, type ApiCall } from '@tripline/model';
import { adapt, type ActorDetector, type ActorDetectorSettings } from '../../legacy.ts';
import { asActorSettings } from '../../settings.ts';
import type { ActorProfileKind } from '../../detector.ts';
import { alertActor } from '../../alerts/alert-actor.ts';
import { LOG_SCALE, STEP_MS } from '../../baseline/limits.ts';
import { fromNumerals, signed, toNumerals, unsigned } from '../../codec/digits.ts';
import {
  alertId,
  closesAt,
  decodeGrowing,
  encodeGrowing,
  isNews,
  markPublished,
  scoreOf,
  type EncodedGrowing,
  type Growing,
} from '../../alerts/episode.ts';
import { compileExceptions } from '../../exception.ts';
import { objectHash } from '../../sketches/seen.ts';
import { toleranceOf, type Tolerance } from '../../baseline/sensitivity.ts';
import {
  decodeTally,
  dominant,
  encodeTally,
  newTally,
  statusClasses,
  tallyCall,
  topEndpoints,
  topSources,
  type EncodedTally,
  type Tally,
} from '../../alerts/tally.ts';
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

/** What is learnt of one endpoint, and its calls in the window. All integers; logarithms are 1,000 ln(1 + x). */
interface Usage {
  hash: number;
  /** Share of the actor's calls, in ten-thousandths. */
  share: number;
  /** Highest count per window so far, logarithm; fades. */
  top: number;
  /** Count of the window learnt last, logarithm: part of `top` only when the window after it was harmless, too. */
  latest: number;
  /** Bytes and ms per successful call, logarithms. */
  bytes: number;
  latency: number;
  /** Windows in which it was used, to SEEN_MOST. */
  seen: number;
  /** Calls in the current window. */
  calls: number;
}

/**
 * `endpoint`: calls gather on one endpoint. `cost`: the same, and its calls take far longer than the actor's others.
 * `bytes`: responses are far larger than usual on the same endpoints.
 */
type Kind = 'endpoint' | 'cost' | 'bytes';

interface Finding {
  kind: Kind;
  /** Of the endpoint; 0 if it is about all. */
  hash: number;
  /** Calls per 10 min, or bytes per call as a multiple of what is usual. */
  value: number;
  expected: number;
  high: number;
  /** Share of the endpoint's calls, in ten-thousandths, now and usually. */
  share: number;
  usualShare: number;
  /** How many times as long as usual successful calls took on the same endpoints. */
  latencyFactor: number;
}

interface Episode extends Growing {
  id: string;
  actor: AlertActor;
  worst: Finding;
}

/** What an actor's calls consist of: of its heaviest endpoints the share, the size and the duration. */
export interface MixState {
  /** Number (since the epoch) of the current window. */
  window: number;
  /** Calls in it, those to endpoints that are kept or not. */
  calls: number;
  /** Successful calls in it to endpoints known well enough, and the sums of how far they are above the learnt levels. */
  sized: number;
  bytesExcess: number;
  latencyExcess: number;
  /** A request spike of the same actor was open: the window is the spike's business. */
  inSpike: boolean;
  /** Windows learnt. */
  learnt: number;
  /** Exponentially weighted mean of |mean excess of bytes| per window. */
  bytesDeviation: number;
  usages: Usage[];
  /** Of the calls that made the window noteworthy. */
  tally: Tally | null;
  /** Only beside a tally: whose they are and when the newest began. */
  actor: AlertActor | null;
  newestMs: number;
  episode: Episode | null;
}

export const requestMix: ActorProfileKind<MixState> = {
  id: 6,
  version: 1,
  create: (settingsOf) => adapt(createCallMixDetector(asActorSettings(settingsOf('request-spike')))),
};

/**
 * Has what an actor asks for changed while the number of its calls is ordinary? Judges what request spike cannot see: calls
 * that gather on one endpoint or an expensive one, and responses that are many times as large. Its alerts are request spikes
 * whose evidence has a `kind`. Only actors with a credential: an address is many people, or one who is gone tomorrow.
 */
export function createCallMixDetector(settings: ActorDetectorSettings): ActorDetector<MixState> {
  const isExcepted = compileExceptions(settings);
  const limits = limitsAt(toleranceOf(settings.sensitivity));
  return {
    create: (call) => (call.actorKind === 'address' || isExcepted(call) ? undefined : newState()),
    fold: (state, call, inSpike) =>
      isExcepted(call) ? close(state, call.startedAt, limits) : fold(state, call, inSpike, limits),
    close: (state, nowMs) => close(state, nowMs, limits),
    closesAt: (state) => {
      if (isPending(state)) return endOf(state.window);
      return state.episode ? closesAt(state.episode) : undefined;
    },
    encode,
    decode: (encoded) => decode(encoded as EncodedMix),
  };
}

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

function newState(): MixState {
  return {
    window: -1,
    calls: 0,
    sized: 0,
    bytesExcess: 0,
    latencyExcess: 0,
    inSpike: false,
    learnt: 0,
    bytesDeviation: 0,
    usages: [],
    tally: null,
    actor: null,
    newestMs: 0,
    episode: null,
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

function fold(state: MixState, call: ApiCall, inSpike: boolean, limits: Limits): Alert[] {
  const atMs = call.startedAt;
  const window = Math.floor(atMs / MIX_WINDOW_MS);
  // Shares need no late call; what was judged stays judged.
  if (window < state.window) return [];
  const alerts = close(state, atMs, limits);
  if (window > state.window) {
    alerts.push(...settle(state, limits));
    state.window = window;
  }
  if (inSpike) state.inSpike = true;
  // Clients repeat by themselves what the server failed, on that endpoint only.
  if (call.status >= 500 || call.status === 499) return alerts;
  state.calls++;
  const usage = usageOf(state, objectHash(call.endpoint, 0));
  let large = false;
  if (usage) {
    usage.calls = Math.min(CALLS_MOST, usage.calls + 1);
    // Errors are short and quick, and the server's.
    if (call.status < 400) large = sizeCall(state, usage, call, limits);
  }
  const crowded =
    usage !== undefined &&
    usage.calls >= limits.endpointCalls / 2 &&
    usage.calls * SHARE_SCALE >= (SHARE_HIGH / 2) * state.calls &&
    state.learnt >= WINDOWS_LEAST &&
    logOf(usage.calls) > usage.top;
  if (large || crowded) {
    tallyCall((state.tally ??= newTally()), call, false);
    state.actor ??= alertActor(call);
    state.newestMs = Math.max(state.newestMs, atMs);
  }
  return alerts;
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

/** Holds a successful call against the levels of its endpoint and lets them follow; tells if it is far larger than usual. */
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

/** The window is over: judges it, learns it if there is nothing against it, and begins an empty one. */
function settle(state: MixState, limits: Limits): Alert[] {
  const alerts: Alert[] = [];
  if (state.calls >= CALLS_LEAST && !state.inSpike) {
    const finding = state.learnt >= WINDOWS_LEAST ? worstOf(state, limits) : undefined;
    const { episode } = state;
    // What has lasted for a day is how things are now.
    if (episode && finding && endOf(state.window) - episode.startedAt > STEP_MS) {
      alerts.push(closeEpisode(state));
      if (state.sized > 0) {
        const shift = Math.max(0, Math.round(state.bytesExcess / state.sized));
        for (const usage of state.usages) usage.bytes += shift;
        state.bytesExcess = 0;
      }
      learn(state);
    } else if (finding && state.tally) {
      alerts.push(...exceeded(state, finding));
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
  return alerts;
}

function worstOf(state: MixState, limits: Limits): Finding | undefined {
  const { calls, sized } = state;
  const { endpointCalls, endpointFactorLog, bytesFactorLog, bytesDeviations } = limits;
  const latencyFactor = sized === 0 ? 1 : rounded(Math.exp(state.latencyExcess / sized / LOG_SCALE));
  let worst: Finding | undefined;
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
  const bytes: Finding = {
    kind: 'bytes',
    hash: 0,
    value: rounded(Math.exp(state.bytesExcess / sized / LOG_SCALE)),
    expected: 1,
    high: Math.floor(10 * Math.exp(bytesHigh / LOG_SCALE)) / 10,
    share: SHARE_SCALE,
    usualShare: SHARE_SCALE,
    latencyFactor,
  };
  return worst && worst.value / worst.high >= bytes.value / bytes.high ? worst : bytes;
}

function percent(share: number): number {
  return rounded((100 * share) / SHARE_SCALE);
}

function rounded(factor: number): number {
  return Math.round(10 * factor) / 10;
}

/** Do its calls take far longer than the others of the actor usually do? By what was learnt: slow servers are not its doing. */
function isExpensive(state: MixState, usage: Usage): boolean {
  let sum = 0;
  let shares = 0;
  for (const other of state.usages) {
    sum += other.share * Math.expm1(other.latency / LOG_SCALE);
    shares += other.share;
  }
  return Math.expm1(usage.latency / LOG_SCALE) * shares >= EXPENSIVE_FACTOR * sum;
}

/** Learns a window that is nobody's fault. */
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

function exceeded(state: MixState, finding: Finding): Alert[] {
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
      worst: finding,
      startedAt,
      raisedAt: endsAt,
      lastSeenAt: state.newestMs,
      count,
      revision: 0,
      publishedAt: 0,
      publishedCount: 0,
      publishedRank: 0,
    };
    return [publish(state, 'open', endsAt)];
  }
  episode.lastSeenAt = Math.max(episode.lastSeenAt, state.newestMs);
  episode.count += count;
  const { worst } = episode;
  if (finding.kind === worst.kind && finding.value / finding.high > worst.value / worst.high)
    episode.worst = finding;
  return isNews(episode, scoreOf(episode.worst.value / episode.worst.high), endsAt)
    ? [publish(state, 'open', endsAt)]
    : [];
}

function close(state: MixState, nowMs: number, limits: Limits): Alert[] {
  const alerts: Alert[] = [];
  if (isPending(state)) {
    // First the window: it may make the episode longer.
    if (nowMs < endOf(state.window)) return alerts;
    alerts.push(...settle(state, limits));
  }
  const { episode } = state;
  if (episode && nowMs >= closesAt(episode)) {
    alerts.push(closeEpisode(state));
    state.tally = null;
    state.actor = null;
  }
  return alerts;
}

function closeEpisode(state: MixState): Alert {
  const alert = publish(state, 'closed', closesAt(state.episode!));
  state.episode = null;
  return alert;
}

/** The next published state of the open episode. */
function publish(state: MixState, status: Alert['status'], nowMs: number): Alert {
  const episode = state.episode!;
  const tally = state.tally!;
  const { worst, actor } = episode;
  const factor = worst.value / worst.high;
  const score = scoreOf(factor);
  markPublished(episode, score, nowMs);
  const endpoint = dominant(tally, tally.endpoints);
  const unit = worst.kind === 'bytes' ? 'times the usual bytes per call' : 'requests/10min';
  return {
    id: episode.id,
    revision: episode.revision,
    type: 'request-spike',
    severity: severityOf(score),
    score,
    actor,
    service: dominant(tally, tally.services) || null,
    route: dominant(tally, tally.routes) || null,
    endpoint,
    raisedAt: episode.raisedAt,
    startedAt: episode.startedAt,
    lastSeenAt: episode.lastSeenAt,
    count: episode.count,
    status,
    observed: { value: worst.value, unit },
    expected: { value: worst.expected, low: 0, high: worst.high, unit },
    summary: summaryOf(worst, actor.name, endpoint, state.learnt),
    sources: topSources(tally),
    evidence: {
      kind: worst.kind,
      windowMs: MIX_WINDOW_MS,
      factor: Math.round(factor * 100) / 100,
      // Nothing is judged before.
      learning: 'overall',
      learntWindows: state.learnt,
      sharePercent: percent(worst.share),
      usualSharePercent: percent(worst.usualShare),
      latencyFactor: worst.latencyFactor,
      statuses: statusClasses(tally),
      endpoints: topEndpoints(tally),
      examinedCalls: tally.calls,
    },
    sampleCallIds: [...tally.sampleCallIds],
    references: ['OWASP API4:2023', 'MITRE ATT&CK T1499'],
  };
}

function summaryOf(worst: Finding, name: string, endpoint: string | null, learnt: number): string {
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

type EncodedEpisode = [id: string, numbers: EncodedGrowing, worst: Finding];
/** The window, what is learnt and the usages as numerals; the others if there are any. */
export type EncodedMix = [
  numbers: string,
  tally?: EncodedTally,
  actor?: AlertActor,
  newestMs?: number,
  episode?: EncodedEpisode,
];

function encode(state: MixState): EncodedMix {
  const { window, calls, sized, bytesExcess, latencyExcess, inSpike, learnt, bytesDeviation } = state;
  const numbers = [window + 1, calls, sized, unsigned(bytesExcess), unsigned(latencyExcess)];
  numbers.push(inSpike ? 1 : 0, learnt, bytesDeviation);
  for (const usage of state.usages)
    numbers.push(
      usage.hash,
      usage.share,
      usage.top,
      usage.latest,
      usage.bytes,
      usage.latency,
      usage.seen,
      usage.calls,
    );
  const encoded: EncodedMix = [toNumerals(numbers)];
  const { tally, actor, newestMs, episode } = state;
  if (tally && actor) encoded.push(encodeTally(tally), actor, newestMs);
  if (episode) encoded.push([episode.id, encodeGrowing(episode), episode.worst]);
  return encoded;
}

function decode([text, tally, actor, newestMs, episode]: EncodedMix): MixState {
  const numbers = fromNumerals(text);
  let at = 0;
  const next = (): number => numbers[at++]!;
  const state: MixState = {
    window: next() - 1,
    calls: next(),
    sized: next(),
    bytesExcess: signed(next()),
    latencyExcess: signed(next()),
    inSpike: next() === 1,
    learnt: next(),
    bytesDeviation: next(),
    usages: [],
    tally: tally ? decodeTally(tally) : null,
    actor: actor ?? null,
    newestMs: newestMs ?? 0,
    episode: episode && actor ? decodeEpisode(episode, actor) : null,
  };
  while (at < numbers.length)
    state.usages.push({
      hash: next(),
      share: next(),
      top: next(),
      latest: next(),
      bytes: next(),
      latency: next(),
      seen: next(),
      calls: next(),
    });
  return state;
}

function decodeEpisode([id, numbers, worst]: EncodedEpisode, actor: AlertActor): Episode {
  return { id, actor, worst, ...decodeGrowing(numbers) };
}
