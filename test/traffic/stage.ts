import type { AlertType } from '@tripline/model';
import { ipv6NetworkOf, pathTemplate } from '@tripline/kong';
import {
  dayMs,
  endMs,
  hourMs,
  instantOf,
  isFree,
  minuteMs,
  secondMs,
  shareAt,
  type Profile,
  type Zone,
} from './calendar.ts';
import { fingerprint, type Request } from './request.ts';
import { hashOf, Random } from './random.ts';
import { routes, type Site } from './site.ts';

/** What was planted: an attack that must be found, or a harmless oddity that must not trouble anybody. */
export interface Label {
  kind: 'attack' | 'benign';
  /** Detector and number or letter in the catalogue: `request-spike:4`, `request-spike:not-e`. */
  variant: string;
  /** The type of alert that it is about. */
  type: AlertType;
  title: string;
  /** An attack that the catalogue does not insist on. */
  optional: boolean;
  /** Intensity and evasion, as drawn for this one. */
  parameters: Record<string, string | number>;
  /** Event times of its first and last request; for what is no request (a sudden stop), of the happening. */
  startedAt: number;
  endedAt: number;
  /** Requests that belong to it, in order of emission: times at which they began. Empty for benign ones. */
  times: number[];
  calls: number;
  /** Actors: `consumer:<id>` and `address:<IPv4 address or /64>`. */
  actors: Set<string>;
  /** `GET /orders/{id}`. */
  endpoints: Set<string>;
  addresses: Set<string>;
  /** Fingerprints of the users whose login succeeded in the attacker's hands. */
  openedAccounts: Set<string>;
  /** The catalogue allows so many alerts of these types about it. */
  tolerates: { types: readonly AlertType[]; most: number } | null;
}

/** Times of what happens to everybody. */
export interface World {
  /** Lines of this time arrive at its end. */
  collectorOutage: Span;
  /** The orders service fails, and clients repeat what failed. */
  ordersOutage: Span;
  /** All logins fail with 5xx. */
  loginOutage: Span;
  /** A route was renamed: old clients get 404. */
  renamed: Span;
  /** Passwords must be changed: failures times four. */
  rotation: Span;
  /** Everybody grows by 30 %. */
  growthFromMs: number;
  databaseUpdateMs: number;
}

export interface TrafficOptions {
  /** Seeds of the report begin at 1001; 1 to 99 are for tuning. */
  seed: number;
  /** Days before 8 April 2026, from 10 on, so that clock change, first of the month and Easter are in them. */
  days: number;
  /** Consumers of the crowd; scenarios bring about 350 of their own. */
  consumers: number;
  /** Days of ordinary traffic of a spike's victim before its spike, default 10: less is cheaper, and known less well. */
  pastDays?: number;
  /** Attackers whom Kong does not know present a fresh invented credential of this kind with each request. Left out: none. */
  invent?: InventedCredential | 'mixed';
}

export const inventedCredentials = ['header', 'bearer', 'basic', 'query', 'cookie'] as const;
export type InventedCredential = (typeof inventedCredentials)[number];

export type Span = readonly [fromMs: number, untilMs: number];

const within = ([from, until]: Span, atMs: number): boolean => atMs >= from && atMs < until;

export interface Stream {
  /** When it acts next; Infinity: never again. */
  nextAt: number;
  act: (atMs: number) => void;
  advance: () => number;
}

const blockMs = hourMs;
const growth = 1.3;
const duplicated = 0.01;

/**
 * The run: who acts when, what happens to all, and the requests that come of it in the order in which their lines
 * arrive. Each stream draws from numbers of its own, so that another cast changes nothing about the rest.
 */
export class Stage {
  readonly seed: number;
  readonly days: number;
  readonly startMs: number;
  readonly endMs = endMs;
  /** Days of ordinary traffic of a spike's victim before its spike. */
  readonly pastDays: number;
  /** Consumers of the crowd, without the casts of the scenarios. */
  readonly crowd: number;
  readonly labels: Label[] = [];
  readonly world: World;
  readonly site: Site;
  /** Kong consumers with their days on the stage. */
  readonly consumerDays = new Map<string, number>();
  /** Announced windows, as `detection.requestSpike.exceptions` take them. */
  readonly exceptions: {
    consumers: string[];
    from: string;
    until: string;
    owner: string;
    comment: string;
  }[] = [];
  readonly #streams: Stream[] = [];
  readonly #arrivals = new Map<number, Request[]>();
  readonly #delays: Random;
  readonly #everywhere: Record<
    | 'monday'
    | 'clock'
    | 'holiday'
    | 'retries'
    | 'buffered'
    | 'growth'
    | 'loginOutage'
    | 'rotation'
    | 'renamed'
    | 'morning'
    | 'newValue'
    | 'newParameter',
    Label
  >;
  readonly #idPrefix: string;
  readonly #invent: TrafficOptions['invent'];
  #sent = 0;

  constructor(options: TrafficOptions) {
    const { seed, days, consumers } = options;
    this.seed = seed;
    this.days = days;
    this.crowd = consumers;
    this.pastDays = options.pastDays ?? 10;
    this.#invent = options.invent;
    this.startMs = endMs - days * dayMs;
    this.#delays = this.random('delays');
    this.#idPrefix = hashOf('ids', seed).toString(16).padStart(8, '0');
    const span = (share: number, hour: number, lengthMs: number): Span => {
      const from = this.startMs + Math.floor(share * days) * dayMs + hour * hourMs;
      return [from, from + lengthMs];
    };
    this.world = {
      collectorOutage: span(0.55, 10, 25 * minuteMs),
      ordersOutage: span(0.65, 13, 15 * minuteMs),
      loginOutage: span(0.75, 11, 40 * minuteMs),
      renamed: span(0.6, 8, 2 * dayMs),
      rotation: span(0.8, 0, dayMs),
      growthFromMs: span(0.7, 0, 0)[0],
      databaseUpdateMs: span(0.5, 3, 0)[0],
    };
    this.site = { startMs: this.startMs, releasedAtMs: span(0.62, 9, 0)[0] };
    const everywhere = (variant: string, type: AlertType, title: string): Label =>
      this.benign(variant, type, title);
    this.#everywhere = {
      monday: everywhere('request-spike:not-a', 'request-spike', 'Monday morning, weekends'),
      holiday: everywhere('request-spike:not-a', 'request-spike', 'Easter and the return from it'),
      clock: everywhere('request-spike:not-c', 'request-spike', 'clocks change'),
      retries: everywhere(
        'request-spike:not-e',
        'request-spike',
        'orders service fails, clients repeat 4 to 64 times',
      ),
      buffered: everywhere(
        'request-spike:not-f',
        'request-spike',
        'lines of 25 minutes arrive at once; 1 % twice',
      ),
      growth: everywhere('request-spike:not-j', 'request-spike', 'everybody grows by 30 %'),
      loginOutage: everywhere('credential-stuffing:not-e', 'credential-stuffing', 'all logins fail with 503'),
      rotation: everywhere('credential-stuffing:not-d', 'credential-stuffing', 'failures x4 for all users'),
      morning: everywhere('credential-stuffing:not-h', 'credential-stuffing', '09:00 login peak'),
      renamed: everywhere('scraping:not-i', 'object-enumeration', '404 from a renamed route after a release'),
      newValue: everywhere(
        'abnormal-parameter:not-b',
        'abnormal-parameter',
        'new value of an enum after a release',
      ),
      newParameter: everywhere(
        'abnormal-parameter:not-c',
        'abnormal-parameter',
        'new optional parameter rolled out',
      ),
    };
    this.#everywhere.growth.tolerates = { types: ['request-spike'], most: 1 };
  }

  random(name: string): Random {
    return new Random(hashOf(name, this.seed));
  }

  attack(variant: string, type: AlertType, title: string, parameters: Label['parameters'] = {}): Label {
    const label = newLabel('attack', variant, type, title);
    label.parameters = parameters;
    this.labels.push(label);
    return label;
  }

  benign(variant: string, type: AlertType, title: string, tolerates: Label['tolerates'] = null): Label {
    const label = newLabel('benign', variant, type, title);
    label.tolerates = tolerates;
    this.labels.push(label);
    return label;
  }

  // ---- when ----

  /** Start (UTC) of the day at this share of the run. */
  day(share: number): number {
    return this.startMs + Math.min(this.days - 1, Math.floor(share * this.days)) * dayMs;
  }

  /** The instant at which it is `hour` o'clock in the zone on a day that is drawn, a working day if there is one. */
  workday(random: Random, zone: Zone, hour: number, lowShare = 0.45, highShare = 0.95): number {
    let instant = 0;
    for (let tries = 0; tries < 50; tries++) {
      instant = instantOf(zone, this.day(random.between(lowShare, highShare)), hour);
      if (!isFree(zone, instant)) break;
    }
    return instant;
  }

  add(stream: Stream): void {
    if (stream.nextAt < this.endMs) this.#streams.push(stream);
  }

  /** Acts at these times, which rise. */
  at(times: Iterable<number>, act: (atMs: number) => void): void {
    const list = [...times].filter((time) => time >= this.startMs && time < this.endMs).sort((a, b) => a - b);
    let index = 0;
    const next = (): number => list[index++] ?? Infinity;
    this.add({ nextAt: next(), act, advance: next });
  }

  /** Acts at random moments, on average `perMinute` times where `share` is 1; `share` never exceeds 1. */
  poisson(
    random: Random,
    [from, until]: Span,
    perMinute: number,
    share: ((atMs: number) => number) | null,
    act: (atMs: number) => void,
  ): void {
    const gapMs = minuteMs / perMinute;
    let at = Math.max(from, this.startMs);
    const last = Math.min(until, this.endMs);
    const next = (): number => {
      do {
        at += random.exponential(gapMs);
        if (at >= last) return Infinity;
      } while (share !== null && random.next() >= share(at));
      return at;
    };
    this.add({ nextAt: next(), act, advance: next });
  }

  /** Acts every `gapMs`, each time up to `jitter` of the gap aside. */
  every(
    random: Random,
    [from, until]: Span,
    gapMs: number,
    jitter: number,
    act: (atMs: number) => void,
  ): void {
    let index = 0;
    const last = Math.min(until, this.endMs);
    const first = Math.max(from, this.startMs);
    const next = (): number => {
      const at = first + index++ * gapMs;
      return at >= last ? Infinity : at + random.next() * jitter * gapMs;
    };
    this.add({ nextAt: next(), act, advance: next });
  }

  /** Acts at `hour` o'clock of the zone on the days that fit. */
  daily(
    random: Random,
    zone: Zone,
    hour: number,
    slipMs: number,
    act: (atMs: number) => void,
    fits: (dayStartMs: number) => boolean = () => true,
  ): void {
    const times: number[] = [];
    for (let day = this.startMs; day < this.endMs; day += dayMs)
      if (fits(day)) times.push(instantOf(zone, day, hour) + random.next() * slipMs);
    this.at(times, act);
  }

  /** Share for the crowd: its profile, and that all of them grow. */
  crowdShare(profile: Profile): (atMs: number) => number {
    return (atMs) => shareAt(profile, atMs) / (atMs < this.world.growthFromMs ? growth : 1);
  }

  /** By how much a rate of the crowd must be larger so that `crowdShare` makes it what it was meant to be. */
  readonly crowdHeadroom = growth;

  // ---- what comes of it ----

  /** Sends a request: what happens to all happens to it, and its line arrives some time later, or twice. */
  send(one: Request, label: Label | null = null): void {
    if (one.startedAt >= this.endMs || one.startedAt < this.startMs) return;
    const { world } = this;
    const at = one.startedAt;
    const attack = label?.kind === 'attack';
    if (!attack) this.#happenings(one);
    this.#sent++;
    if (attack && this.#invent !== undefined) present(this.#inventedBy(label), one, this.#sent);
    one.id = `${this.#idPrefix}${this.#sent.toString(16).padStart(12, '0')}`;
    if (label) note(label, one);
    const held = within(world.collectorOutage, at);
    if (held) touch(this.#everywhere.buffered, at);
    one.arrivesAt = held
      ? world.collectorOutage[1] + this.#delays.next() * 30 * secondMs
      : at + one.latencyMs + this.#delays.next() * 200;
    this.#arrive(one);
    if (this.#delays.chance(duplicated))
      this.#arrive({ ...one, arrivesAt: one.arrivesAt + this.#delays.next() * minuteMs });
  }

  /** Mixed: one kind per attack, all kinds over the attacks. */
  #inventedBy(label: Label): InventedCredential {
    const kinds = inventedCredentials;
    return this.#invent === 'mixed' || this.#invent === undefined
      ? kinds[(this.labels.indexOf(label) + this.seed) % kinds.length]!
      : this.#invent;
  }

  #happenings(one: Request): void {
    const { world } = this;
    const at = one.startedAt;
    if (within(world.ordersOutage, at) && one.route?.service === routes.orders.service && !one.byKong) {
      touch(this.#everywhere.retries, at);
      const again = one.status !== 503;
      one.status = 503;
      one.latencyMs = 3_000;
      // Clients repeat with 1 to 20 s between, until it works or they lose patience.
      if (again) {
        let next = at;
        for (let left = 4 + this.#delays.int(this.#delays.chance(0.1) ? 60 : 8); left > 0; left--) {
          next += Math.floor(this.#delays.between(secondMs, 20 * secondMs));
          if (next < world.ordersOutage[1]) this.send({ ...one, startedAt: next });
        }
      }
    }
    if (one.route === routes.login) {
      if (within(world.loginOutage, at)) {
        one.status = 503;
        touch(this.#everywhere.loginOutage, at);
      }
      if (within(world.rotation, at)) touch(this.#everywhere.rotation, at);
      const hour = new Date(at).getUTCHours();
      if (hour >= 7 && hour < 9) touch(this.#everywhere.morning, at);
    }
    if (within(world.renamed, at) && one.path.includes('/items/')) {
      one.status = 404;
      touch(this.#everywhere.renamed, at);
    }
    if (at >= this.site.releasedAtMs && one.query) {
      if (one.query['status'] === 'refunded') touch(this.#everywhere.newValue, at);
      if (one.query['expand'] !== undefined) touch(this.#everywhere.newParameter, at);
    }
    if (at >= world.growthFromMs) touch(this.#everywhere.growth, at);
    if (one.startedAt % 16 === 0) this.#calendar(at);
  }

  /** Looked at for one request in sixteen: it is only to see that the days occur. */
  #calendar(at: number): void {
    const date = new Date(at);
    const [month, day] = [date.getUTCMonth(), date.getUTCDate()];
    if (date.getUTCDay() === 1 && date.getUTCHours() >= 6 && date.getUTCHours() < 10)
      touch(this.#everywhere.monday, at);
    if (month === 2 && (day === 29 || day === 30)) touch(this.#everywhere.clock, at);
    if (month === 3 && day >= 3 && day <= 7) touch(this.#everywhere.holiday, at);
  }

  #arrive(one: Request): void {
    const block = Math.floor(one.arrivesAt / blockMs);
    const list = this.#arrivals.get(block);
    if (list) list.push(one);
    else this.#arrivals.set(block, [one]);
  }

  /** The requests of one hour after another, each in the order in which their lines arrive. */
  *blocks(): Generator<{ endsAt: number; requests: Request[] }> {
    const first = Math.floor(this.startMs / blockMs);
    const last = Math.floor((this.endMs - 1) / blockMs);
    for (let block = first; block <= last || this.#arrivals.size > 0; block++) {
      const endsAt = (block + 1) * blockMs;
      for (const stream of this.#streams) {
        while (stream.nextAt < endsAt) {
          stream.act(stream.nextAt);
          stream.nextAt = stream.advance();
        }
      }
      const requests = this.#arrivals.get(block);
      this.#arrivals.delete(block);
      if (requests) yield { endsAt, requests: requests.sort((a, b) => a.arrivesAt - b.arrivesAt) };
    }
  }
}

function newLabel(kind: Label['kind'], variant: string, type: AlertType, title: string): Label {
  return {
    kind,
    variant,
    type,
    title,
    optional: false,
    parameters: {},
    startedAt: Infinity,
    endedAt: -Infinity,
    times: [],
    calls: 0,
    actors: new Set(),
    endpoints: new Set(),
    addresses: new Set(),
    openedAccounts: new Set(),
    tolerates: null,
  };
}

function touch(label: Label, atMs: number): void {
  label.calls++;
  if (atMs < label.startedAt) label.startedAt = atMs;
  if (atMs > label.endedAt) label.endedAt = atMs;
}

/** Adds a credential that nobody knows to a request that has none. */
function present(kind: InventedCredential, one: Request, serial: number): void {
  const { consumer } = one.client;
  if (consumer !== null || one.login !== null || one.bearer !== null || one.wrongKey !== null) return;
  const invented = hashOf('invented', serial).toString(36).padStart(14, 'k7');
  if (kind === 'header') one.wrongKey = invented;
  else if (kind === 'bearer') one.bearer = invented;
  else if (kind === 'basic') one.login = { user: `u${invented}`, password: invented };
  else if (kind === 'query') one.query = { ...one.query, apikey: invented };
  else one.client = { ...one.client, cookie: `session=${invented}` };
}

function note(label: Label, one: Request): void {
  touch(label, one.startedAt);
  const { consumer } = one.client;
  const address = ipv6NetworkOf(one.ip) ?? one.ip;
  label.actors.add(consumer ? `consumer:${consumer.id}` : `address:${address}`);
  label.addresses.add(address);
  if (label.kind === 'benign') return;
  label.times.push(one.startedAt);
  label.endpoints.add(`${one.method} ${pathTemplate(one.path)}`);
  if (one.login && one.status === 200) label.openedAccounts.add(fingerprint(one.login.user));
}
