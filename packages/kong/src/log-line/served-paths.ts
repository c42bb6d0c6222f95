import { sourceOf, type ApiCall } from '@tripline/model';
import { pathTemplate } from './endpoint.ts';
import type { RouteMatch } from './log-line.ts';

/** What is kept over a restart, as JSON. */
export interface SavedServedPaths {
  routes: { hosts: string[]; methods: string[]; prefixes: string[]; servedAt: number }[];
  /** Hash of the path, hour since the epoch, and hash of the only source, or 0. */
  paths: [hash: number, hour: number, source: number][];
}

/** Remembers which paths were served lately. See `createServedPaths`. */
export interface ServedPaths {
  /**
   * Takes note of the call, which must be complete but for `pathGone`; true if it is a 404 for a path that is gone rather than
   * one that nobody was ever served. `route`: of the call's line.
   */
  observe: (call: ApiCall, route: RouteMatch | undefined) => boolean;
  /** Another number whenever there is something to save. */
  readonly revision: number;
  saved: () => SavedServedPaths;
}

export interface ServedPathsOptions {
  /** What an earlier one had saved. */
  saved?: SavedServedPaths;
  /** Paths that are remembered, half of them such as only one source was served. Default 100,000, about 12 MB. */
  maxPaths?: number;
}

const HOUR_MS = 3_600_000;
const HOURS_PER_DAY = 24;
/** A path is forgotten when nobody was served for so long: search engines come back for a page after weeks. */
const PATH_HOURS = 28 * HOURS_PER_DAY;
/** A route is believed to be missing, rather than removed on purpose, for so long: over a weekend. */
const ROUTE_MS = 72 * HOUR_MS;
/** A route that took a call so lately is there: Kong then has another reason for its 404. */
const ROUTE_ALIVE_MS = 60_000;
/** Far more routes than people have; further ones are not remembered until others have aged. */
const MAX_ROUTES = 2_000;

/** Sources and whether their last call had a route are looked at over so long, and so many of them. */
const SOURCES_MS = 15 * 60_000;
const MAX_SOURCES = 1_000;
/** `Everybody` is at least so many sources, … */
const EVERYBODY = 10;
/** … of which at most this share has a route, … */
const ROUTED_SHARE = 0.05;
/** … and at most this share of the most that had one at a time within the last days, so that no botnet is everybody. */
const ROUTED_OF_MOST = 0.1;

/** A route that takes what begins with one of its prefixes. */
interface PlainRoute {
  key: string;
  hosts: string[];
  methods: string[];
  prefixes: string[];
  /** Event time of its newest call. */
  servedAt: number;
}

/**
 * Makes a memory of what was served, to tell a path that is gone from one that never was. A 404 is of a path that is gone if
 *
 * - the same path was served within four weeks, to another source or at least an hour ago; ids and numbers in it count as the
 *   same. The upstream's 404 for an object (`/orders/{id}`) is not looked at: other objects of the endpoint were served;
 * - a route with a plain path, seen within three days but not within the last minute, would have taken it, or would have taken
 *   it before the one that did. A path of `/` counts only with the hosts of its route;
 * - Kong had no route, as for nearly everybody within the last quarter of an hour.
 *
 * Nothing that only the client says counts: neither refused calls nor preflights nor what Kong answers itself. A client that
 * is served whatever it asks for fills the half of the memory that holds what one source was served; of that half, and of
 * the other one, the oldest is forgotten when it is full. Pure: the same calls in the same order give the same answers.
 */
export function createServedPaths(options: ServedPathsOptions = {}): ServedPaths {
  return new ServedPathMemory((options.maxPaths ?? 100_000) / 2, options.saved);
}

class ServedPathMemory implements ServedPaths {
  revision = 0;
  readonly #maxOfHalf: number;
  // By hash of the path, longest not served first. The value is the hour, times 65,536, and a hash of the source.
  readonly #ofOne = new Map<number, number>();
  readonly #ofMany = new Map<number, number>();
  readonly #routes = new Map<string, PlainRoute>();
  /** Routes of lines; null for those that are not plain. */
  readonly #known = new WeakMap<RouteMatch, PlainRoute | null>();
  /** By source the time of its last call, doubled, and 1 if that call had a route. Longest not seen first. */
  readonly #sources = new Map<number, number>();
  /** How many of the sources have a route, and the most that had one, halved with each day since. */
  #routed = 0;
  #mostRouted = 0;
  #mostRoutedDay = 0;
  #newestMs = 0;

  constructor(maxOfHalf: number, saved: SavedServedPaths | undefined) {
    this.#maxOfHalf = maxOfHalf;
    if (!saved) return;
    for (const { hosts, methods, prefixes, servedAt } of saved.routes.slice(0, MAX_ROUTES)) {
      const key = JSON.stringify([hosts, methods, prefixes]);
      this.#routes.set(key, { key, hosts, methods, prefixes, servedAt });
    }
    for (const [hash, hour, source] of saved.paths)
      this.#put(source === 0 ? this.#ofMany : this.#ofOne, hash, hour, source);
    this.revision = 0;
  }

  observe(call: ApiCall, route: RouteMatch | undefined): boolean {
    const { startedAt, path } = call;
    if (path === '') return false;
    this.#newestMs = Math.max(this.#newestMs, startedAt);
    const hour = Math.floor(startedAt / HOUR_MS);
    const source = textHash(0x811c_9dc5, sourceOf(call) ?? call.actorId);
    const short = (source % 65_535) + 1;
    const noRoute = isWithoutRoute(call);
    this.#noteSource(source, startedAt, !noRoute);
    if (route !== undefined && call.route !== undefined) this.#noteRoute(route, startedAt);
    if (isServed(call)) this.#notePath(pathHash(call), short, hour);
    if (noRoute)
      return (
        this.#isEverybody() || this.#wasServed(pathHash(call), short, hour) || this.#isRouteGone(call, 0)
      );
    if (call.status !== 404 || call.source !== 'upstream') return false;
    if (!call.endpoint.includes('{') && this.#wasServed(pathHash(call), short, hour)) return true;
    const taken = route === undefined ? undefined : this.#known.get(route);
    return taken != null && this.#isRouteGone(call, longestPrefix(taken, path));
  }

  saved(): SavedServedPaths {
    return {
      routes: [...this.#routes.values()].map(({ hosts, methods, prefixes, servedAt }) => ({
        hosts,
        methods,
        prefixes,
        servedAt,
      })),
      paths: [...this.#ofOne, ...this.#ofMany].map(([hash, entry]) => [hash, hourOf(entry), entry % 65_536]),
    };
  }

  #put(half: Map<number, number>, hash: number, hour: number, source: number): void {
    half.delete(hash);
    if (half.size >= this.#maxOfHalf) half.delete(half.keys().next().value!);
    half.set(hash, hour * 65_536 + source);
    this.revision++;
  }

  #notePath(hash: number, source: number, hour: number): void {
    const many = this.#ofMany.get(hash);
    if (many !== undefined) {
      if (hour - hourOf(many) >= HOURS_PER_DAY) this.#put(this.#ofMany, hash, hour, 0);
      return;
    }
    const one = this.#ofOne.get(hash);
    if (one === undefined) this.#put(this.#ofOne, hash, hour, source);
    else if (one % 65_536 !== source) {
      this.#ofOne.delete(hash);
      this.#put(this.#ofMany, hash, hour, 0);
    } else if (hour - hourOf(one) >= HOURS_PER_DAY) this.#put(this.#ofOne, hash, hour, source);
  }

  #wasServed(hash: number, source: number, hour: number): boolean {
    const entry = this.#ofMany.get(hash) ?? this.#ofOne.get(hash);
    if (entry === undefined || hour - hourOf(entry) > PATH_HOURS) return false;
    const only = entry % 65_536;
    return only === 0 || only !== source || hour - hourOf(entry) >= 1;
  }

  #keep(route: PlainRoute): void {
    this.revision++;
    if (this.#routes.has(route.key)) return;
    if (this.#routes.size >= MAX_ROUTES)
      for (const [key, { servedAt }] of this.#routes)
        if (servedAt < this.#newestMs - ROUTE_MS) this.#routes.delete(key);
    if (this.#routes.size >= MAX_ROUTES) return;
    this.#routes.set(route.key, route);
  }

  #noteRoute(match: RouteMatch, atMs: number): void {
    let route = this.#known.get(match);
    if (route === undefined) {
      const found = plainRoute(match);
      route = (found && this.#routes.get(found.key)) ?? found;
      this.#known.set(match, route);
    }
    if (route === null) return;
    const { servedAt } = route;
    route.servedAt = Math.max(servedAt, atMs);
    if (dayOf(atMs) > dayOf(servedAt)) this.#keep(route);
  }

  /** Is there a route no more that would have taken the call, by a prefix longer than `least`? */
  #isRouteGone(call: ApiCall, least: number): boolean {
    const { startedAt } = call;
    const host = hostName(call.host);
    for (const { hosts, methods, prefixes, servedAt } of this.#routes.values()) {
      if (startedAt - servedAt <= ROUTE_ALIVE_MS || startedAt - servedAt > ROUTE_MS) continue;
      if (methods.length > 0 && !methods.includes(call.method)) continue;
      if (hosts.length > 0 && !hosts.some((pattern) => fitsHost(pattern, host))) continue;
      for (const prefix of prefixes)
        if (prefix.length > least && call.path.startsWith(prefix) && (prefix.length > 1 || hosts.length > 0))
          return true;
    }
    return false;
  }

  #noteSource(source: number, atMs: number, hasRoute: boolean): void {
    const last = this.#sources.get(source);
    if (last !== undefined) {
      this.#routed -= last % 2;
      this.#sources.delete(source);
    }
    this.#sources.set(source, atMs * 2 + (hasRoute ? 1 : 0));
    if (hasRoute) this.#routed++;
    for (const [oldest, entry] of this.#sources) {
      if (this.#sources.size <= MAX_SOURCES && entry / 2 >= this.#newestMs - SOURCES_MS) break;
      this.#sources.delete(oldest);
      this.#routed -= entry % 2;
    }
    const day = dayOf(this.#newestMs);
    if (day > this.#mostRoutedDay) {
      this.#mostRouted /= 2 ** (day - this.#mostRoutedDay);
      this.#mostRoutedDay = day;
    }
    this.#mostRouted = Math.max(this.#mostRouted, this.#routed);
  }

  #isEverybody(): boolean {
    return (
      this.#sources.size >= EVERYBODY &&
      this.#routed <= ROUTED_SHARE * this.#sources.size &&
      this.#routed <= ROUTED_OF_MOST * this.#mostRouted
    );
  }
}

function dayOf(atMs: number): number {
  return Math.floor(atMs / (HOURS_PER_DAY * HOUR_MS));
}

function hourOf(entry: number): number {
  return Math.floor(entry / 65_536);
}

/** Kong had no route. Not: a line that does not tell its route, as the operator removed it. */
function isWithoutRoute(call: ApiCall): boolean {
  return (
    call.source === 'kong' &&
    call.status === 404 &&
    call.route === undefined &&
    call.service === undefined &&
    call.upstreamStatus === undefined &&
    call.upstreamMs === undefined
  );
}

/** Did the upstream have something there? Preflights are answered for any path. */
function isServed({ source, status, method }: ApiCall): boolean {
  return source === 'upstream' && status >= 101 && status < 400 && method !== 'OPTIONS';
}

/** 32 bits: of the host and the path, with what looks like an id or a number in it as one. */
function pathHash({ host = '', path }: ApiCall): number {
  let hash = textHash(0x811c_9dc5, hostName(host));
  const shape = /[\d~]/.test(path) ? pathTemplate(path) : path;
  const end = shape.length > 1 && shape.endsWith('/') ? shape.length - 1 : shape.length;
  let inNumber = false;
  for (let at = 0; at < end; at++) {
    const code = shape.charCodeAt(at);
    const isDigit = code >= 48 && code <= 57;
    if (isDigit && inNumber) continue;
    inNumber = isDigit;
    hash = Math.imul(hash ^ (isDigit ? 48 : code), 0x0100_0193);
  }
  return (hash ^ (hash >>> 15)) >>> 0;
}

/** FNV-1a. */
function textHash(seed: number, text: string): number {
  let hash = seed;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x0100_0193);
  return (hash ^ (hash >>> 15)) >>> 0;
}

/** Lower case, without the port. */
function hostName(host = ''): string {
  return host.toLowerCase().replace(/:\d+$/, '');
}

/** As Kong's traditional router compares: `*.example.com`, `example.*`, or the whole name. */
function fitsHost(pattern: string, host: string): boolean {
  if (pattern.startsWith('*')) return host.endsWith(pattern.slice(1));
  if (pattern.endsWith('*')) return host.startsWith(pattern.slice(0, -1));
  return pattern === host;
}

/** Null for a route with a regular expression only, or that asks for more than host, method and path. */
function plainRoute({ paths, hosts, methods, headers, snis }: RouteMatch): PlainRoute | null {
  if (headers != null || snis != null) return null;
  // Copies: a piece of a line would keep all the bytes that came with it in memory.
  const texts = (value: unknown): string[] =>
    Array.isArray(value)
      ? (value as unknown[])
          .filter((one) => typeof one === 'string')
          .map((one) => Buffer.from(one).toString())
      : [];
  const prefixes = texts(paths).filter((path) => /^\/[\w.\-~/%]*$/.test(path));
  const own = { hosts: texts(hosts).map(hostName), methods: texts(methods), prefixes };
  if (own.hosts.length > 0 && texts(paths).length === 0) prefixes.push('/');
  if (prefixes.length === 0) return null;
  return { key: JSON.stringify([own.hosts, own.methods, own.prefixes]), ...own, servedAt: 0 };
}

function longestPrefix({ prefixes }: PlainRoute, path: string): number {
  return prefixes.reduce(
    (most, prefix) => (path.startsWith(prefix) ? Math.max(most, prefix.length) : most),
    0,
  );
}
