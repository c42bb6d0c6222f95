import type { ApiCall } from '@tripline/model';
import { z } from 'zod';

/**
 * Traffic as a small seeded program, so that a golden case is a page of JSON instead of a million lines. Times are
 * offsets from `start`, written as "14d9h30m".
 */
export const offset = z.string().regex(/^(\d+d)?(\d+h)?(\d+m)?(\d+s)?$/);

const rate = z.discriminatedUnion('kind', [
  /** Evenly spaced, each call up to `jitter` of the spacing aside. */
  z.strictObject({
    kind: z.literal('constant'),
    perMinute: z.number().positive(),
    jitter: z.number().min(0).max(1).default(0),
  }),
  z.strictObject({ kind: z.literal('poisson'), perMinute: z.number().positive() }),
  /** Sessions: Pareto-distributed times on and off with mean lengths, Poisson calls while on. */
  z.strictObject({
    kind: z.literal('sessions'),
    perMinute: z.number().positive(),
    onSeconds: z.number().positive(),
    offSeconds: z.number().positive(),
    alpha: z.number().gt(1),
  }),
  /** `calls` in a row, `everyMs` apart, at each occurrence. */
  z.strictObject({
    kind: z.literal('job'),
    calls: z.int().positive(),
    everyMs: z.number().positive(),
    /** Minute of the hour, hours of the day (all if left out), and on which days. */
    minute: z.int().min(0).max(59).default(0),
    hours: z.array(z.int().min(0).max(23)).optional(),
    days: z.enum(['daily', 'first-of-month', 'monday']).default('daily'),
    /** How much the beginning varies. */
    slipSeconds: z.number().min(0).default(0),
  }),
]);

/** Share of the rate by hour of day and kind of day. */
export const profile = z.strictObject({
  /** The rate is `perMinute` at the peak and a `peakToTrough`-th of it at the trough, along a cosine. */
  peakToTrough: z.number().min(1),
  peakHour: z.number().min(0).max(24).default(14),
  weekend: z.number().min(0).max(1).default(1),
});

export const phaseSchema = z.strictObject({
  consumer: z.string(),
  /** As many consumers with the same program, named consumer-0, consumer-1 ... */
  times: z.int().min(1).default(1),
  from: offset,
  until: offset,
  rate,
  profile: profile.optional(),
  /** Grows by this factor each hour from the beginning of the phase. */
  growthPerHour: z.number().positive().default(1),
  /** Only during the first `forSeconds` of every `everySeconds`. */
  pulse: z
    .strictObject({ everySeconds: z.number().positive(), forSeconds: z.number().positive() })
    .optional(),
  service: z.string().default('orders'),
  endpoint: z.string().default('GET /orders/{id}'),
  /** Share of each status; the rest is 200. */
  status: z.record(z.string(), z.number()).default({}),
  refused: z.boolean().default(false),
  /** What each call asks for; the path of `endpoint` if left out. */
  asks: z
    .strictObject({
      /** `{n}` stands for a number, or several with commas, `{uuid}` for one drawn by lot. */
      path: z.string().optional(),
      /** A value, or several of which one is drawn by lot; a list among them is a name that is repeated, null one left out. */
      query: z
        .record(
          z.string(),
          z.union([z.string(), z.array(z.union([z.string(), z.array(z.string()), z.null()])).min(1)]),
        )
        .default({}),
      headers: z.record(z.string(), z.string()).default({}),
      /** The numbers: from this one on, by this step, so many before they begin again. */
      first: z.int().default(1_000),
      stride: z.int().default(1),
      of: z.int().min(1).default(1_000_000),
      /** Drawn from those `of`, instead of one after the other. */
      random: z.boolean().default(false),
      perCall: z.int().min(1).default(1),
    })
    .optional(),
  responseBytes: z.int().min(0).default(900),
  /** Nobody is known: each address is an actor of its own. */
  anonymous: z.boolean().default(false),
  /** Kong has no route for it, and answers itself. */
  routed: z.boolean().default(true),
  /** The collector knows that what is asked for is gone. */
  gone: z.boolean().default(false),
  latencyMs: z.int().min(0).default(12),
  addresses: z.int().min(1).default(1),
  /** Where the calls come from and with which client, one after the other in turn; unknown if left out. */
  origins: z
    .array(
      z.strictObject({
        /** The first three numbers of its addresses. */
        net: z.string().regex(/^\d+\.\d+\.\d+$/),
        asn: z.int().optional(),
        country: z.string().length(2),
        /** Databases have coordinates without a city, too: the middle of the country. */
        city: z.string().optional(),
        at: z.tuple([z.number(), z.number()]).optional(),
        userAgent: z.string().optional(),
      }),
    )
    .min(1)
    .optional(),
  /** Each call arrives up to this much later than it began. */
  lateSeconds: z.number().min(0).default(0),
  /** Calls of the phase arrive at this time at the earliest: a buffer that is emptied at once. */
  heldUntil: offset.optional(),
  /** Share of the calls that arrive twice. */
  duplicated: z.number().min(0).max(1).default(0),
});

export type Phase = z.infer<typeof phaseSchema>;
export type PhaseInput = z.input<typeof phaseSchema>;

export function offsetMs(text: string): number {
  let ms = 0;
  for (const [, number, unit] of text.matchAll(/(\d+)([dhms])/g)) {
    ms +=
      Number(number) * { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1_000 }[unit as 'd' | 'h' | 'm' | 's'];
  }
  return ms;
}

/** mulberry32: small, seeded, the same everywhere. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

function pareto(random: () => number, mean: number, alpha: number): number {
  return ((mean * (alpha - 1)) / alpha) * (1 - random()) ** (-1 / alpha);
}

/** Share of the rate at a time of day and week; at most 1. */
export function shareAt(profile: Phase['profile'], atMs: number): number {
  if (!profile) return 1;
  const { peakToTrough, peakHour, weekend } = profile;
  const hourOfDay = (atMs / 3_600_000) % 24;
  const wave = (1 + Math.cos(((hourOfDay - peakHour) / 24) * 2 * Math.PI)) / 2;
  const day = (Math.floor(atMs / 86_400_000) + 4) % 7;
  return (1 / peakToTrough + (1 - 1 / peakToTrough) * wave) * (day === 0 || day === 6 ? weekend : 1);
}

function isBetweenPulses(phase: Phase, fromMs: number, atMs: number): boolean {
  return (
    phase.pulse !== undefined && ((atMs - fromMs) / 1000) % phase.pulse.everySeconds >= phase.pulse.forSeconds
  );
}

/** Times at which the calls of a phase begin, rising. */
function* timesOf(phase: Phase, startMs: number, random: () => number): Generator<number> {
  const fromMs = startMs + offsetMs(phase.from);
  const untilMs = startMs + offsetMs(phase.until);
  const { rate } = phase;
  if (rate.kind === 'job') {
    for (let hourMs = Math.ceil(fromMs / 3_600_000) * 3_600_000; hourMs < untilMs; hourMs += 3_600_000) {
      const date = new Date(hourMs);
      if (rate.hours && !rate.hours.includes(date.getUTCHours())) continue;
      if (rate.days === 'first-of-month' && date.getUTCDate() !== 1) continue;
      if (rate.days === 'monday' && date.getUTCDay() !== 1) continue;
      const beginsAt = hourMs + rate.minute * 60_000 + Math.floor(random() * rate.slipSeconds * 1000);
      for (let i = 0; i < rate.calls; i++) yield beginsAt + i * rate.everyMs;
    }
    return;
  }
  let onUntil = Infinity;
  let atMs = fromMs;
  if (rate.kind === 'sessions') {
    atMs += random() * rate.offSeconds * 1000;
    onUntil = atMs + pareto(random, rate.onSeconds, rate.alpha) * 1000;
  }
  let index = 0;
  for (;;) {
    const grown = rate.perMinute * phase.growthPerHour ** ((atMs - fromMs) / 3_600_000);
    const gapMs = 60_000 / grown;
    atMs += rate.kind === 'constant' ? gapMs : -Math.log(1 - random()) * gapMs;
    index++;
    while (atMs > onUntil && rate.kind === 'sessions') {
      atMs = onUntil + pareto(random, rate.offSeconds, rate.alpha) * 1000;
      onUntil = atMs + pareto(random, rate.onSeconds, rate.alpha) * 1000;
    }
    if (atMs >= untilMs) return;
    const share = isBetweenPulses(phase, fromMs, atMs) ? 0 : shareAt(phase.profile, atMs);
    if (
      share < 1 &&
      (rate.kind === 'constant'
        ? Math.floor(index * share) === Math.floor((index - 1) * share)
        : random() >= share)
    )
      continue;
    yield Math.floor(rate.kind === 'constant' ? atMs + (random() - 0.5) * rate.jitter * gapMs : atMs);
  }
}

function ask(call: ApiCall, asks: NonNullable<Phase['asks']>, index: number, random: () => number): void {
  const numbers = Array.from({ length: asks.perCall }, (_, at) => {
    const place = asks.random ? Math.floor(random() * asks.of) : (index * asks.perCall + at) % asks.of;
    return asks.first + place * asks.stride;
  });
  const hex = (): string =>
    Math.floor(random() * 2 ** 32)
      .toString(16)
      .padStart(8, '0');
  const fill = (text: string): string =>
    text.replace('{n}', numbers.join(',')).replace('{uuid}', () => `${hex()}-1a2b-4c3d-8e4f-${hex()}5a6b`);
  const fillAll = (texts: Record<string, string>): [string, string][] =>
    Object.entries(texts).map(([name, text]) => [name, fill(text)]);
  if (asks.path !== undefined) call.path = fill(asks.path);
  const query: Record<string, string[]> = {};
  for (const [name, choices] of Object.entries(asks.query)) {
    const value = typeof choices === 'string' ? choices : choices[Math.floor(random() * choices.length)];
    if (value !== null && value !== undefined) query[name] = [value].flat().map(fill);
  }
  if (Object.keys(query).length > 0) call.query = query;
  const headers = fillAll(asks.headers);
  if (headers.length > 0) call.headers = Object.fromEntries(headers);
}

interface Arrival {
  arrivesAt: number;
  call: ApiCall;
}

function* arrivalsOf(
  phase: Phase,
  name: string,
  key: string,
  startMs: number,
  seed: number,
): Generator<Arrival> {
  const random = randomFrom(seed);
  const heldUntilMs = phase.heldUntil === undefined ? 0 : startMs + offsetMs(phase.heldUntil);
  const statuses = Object.entries(phase.status).map(([status, share]) => [Number(status), share] as const);
  const [method = 'GET', path = '/'] = phase.endpoint.split(' ');
  let index = 0;
  for (const startedAt of timesOf(phase, startMs, random)) {
    let status = phase.refused ? 403 : 200;
    if (statuses.length > 0) {
      let dice = random();
      for (const [one, share] of statuses) {
        if (dice < share) {
          status = one;
          break;
        }
        dice -= share;
      }
    }
    const address = phase.addresses === 1 ? 0 : Math.floor(random() * phase.addresses);
    const ip = phase.addresses < 255 ? `192.0.2.${1 + address}` : `10.0.${address >> 8}.${address & 255}`;
    const actor = phase.anonymous ? ip : name;
    const call: ApiCall = {
      id: `${key}-${index}`.padStart(8, '0'),
      startedAt,
      actorKind: phase.anonymous ? 'address' : 'consumer',
      actorId: actor,
      actorName: actor,
      ...(phase.anonymous ? {} : { consumerId: name, consumerUsername: name }),
      ip,
      method,
      path,
      endpoint: phase.endpoint,
      ...(phase.routed ? { service: phase.service, route: phase.service } : {}),
      status,
      source: phase.refused || !phase.routed ? 'kong' : 'upstream',
      requestBytes: 300,
      responseBytes: phase.responseBytes,
      latencyMs: phase.latencyMs,
    };
    if (phase.origins) comeFrom(call, phase.origins[index % phase.origins.length]!, address);
    if (phase.asks) ask(call, phase.asks, index, random);
    index++;
    // As the collector does where nothing else is known.
    if (status === 401) call.auth = 'failure';
    if (phase.refused) call.refused = true;
    if (phase.gone) call.pathGone = true;
    const arrivesAt = Math.max(
      heldUntilMs,
      startedAt + (phase.lateSeconds > 0 ? random() * phase.lateSeconds * 1000 : 0),
    );
    yield { arrivesAt, call };
    if (phase.duplicated > 0 && random() < phase.duplicated)
      yield { arrivesAt: arrivesAt + random() * 60_000, call };
  }
}

function comeFrom(call: ApiCall, origin: NonNullable<Phase['origins']>[number], address: number): void {
  const { net, asn, country, city, at, userAgent } = origin;
  call.ip = `${net}.${1 + (address % 254)}`;
  call.country = country;
  if (asn !== undefined) call.asn = asn;
  if (city !== undefined) call.city = city;
  if (at !== undefined) [call.latitude, call.longitude] = at;
  if (userAgent !== undefined) call.userAgent = userAgent;
}

/** The calls of all phases in the order of their arrival. */
export function* callsOf(phases: readonly Phase[], startMs: number, seed: number): Generator<ApiCall> {
  const streams: Generator<Arrival>[] = [];
  for (const [at, phase] of phases.entries()) {
    for (let copy = 0; copy < phase.times; copy++) {
      const name = phase.times === 1 ? phase.consumer : `${phase.consumer}-${copy}`;
      const stream = arrivalsOf(phase, name, `${at}-${copy}`, startMs, seed * 1_000_003 + at * 1_009 + copy);
      const ordered = phase.lateSeconds === 0 && phase.duplicated === 0;
      streams.push(ordered ? stream : sorted(stream));
    }
  }
  const heads: { head: Arrival; stream: Generator<Arrival> }[] = [];
  for (const stream of streams) {
    const first = stream.next();
    if (first.done !== true) heads.push({ head: first.value, stream });
  }
  // A binary heap by time of arrival; streams are few, or many and slow.
  const before = (a: number, b: number): boolean => heads[a]!.head.arrivesAt < heads[b]!.head.arrivesAt;
  const sink = (from: number): void => {
    for (let at = from; ;) {
      const left = 2 * at + 1;
      if (left >= heads.length) return;
      const child = left + 1 < heads.length && before(left + 1, left) ? left + 1 : left;
      if (!before(child, at)) return;
      [heads[at], heads[child]] = [heads[child]!, heads[at]!];
      at = child;
    }
  };
  for (let at = Math.floor(heads.length / 2) - 1; at >= 0; at--) sink(at);
  while (heads.length > 0) {
    const top = heads[0]!;
    yield top.head.call;
    const next = top.stream.next();
    if (next.done === true) {
      const last = heads.pop()!;
      if (heads.length > 0) heads[0] = last;
    } else top.head = next.value;
    sink(0);
  }
}

function* sorted(stream: Generator<Arrival>): Generator<Arrival> {
  yield* [...stream].sort((a, b) => a.arrivesAt - b.arrivesAt);
}
