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
  const maxOfHalf = (options.maxPaths ?? 100_000) / 2;
  // By hash of the path, longest not served first. The value is the hour, times 65,536, and a hash of the source.
  const ofOne = new Map<number, number>();
  const ofMany = new Map<number, number>();
  const routes = new Map<string, PlainRoute>();
  /** Routes of lines; null for those that are not plain. */
  const known = new WeakMap<RouteMatch, PlainRoute | null>();
  /** Time of the source's last call, doubled, and 1 if it had a route. Longest not seen first. */
  const sources = new Map<number, number>();
  let routed = 0;
  let mostRouted = 0;
  let mostRoutedDay = 0;
  let newestMs = 0;
  let revision = 0;

  const put = (half: Map<number, number>, hash: number, hour: number, source: number): void => {
    half.delete(hash);
    if (half.size >= maxOfHalf) half.delete(half.keys().next().value!);
    half.set(hash, hour * 65_536 + source);
    revision++;
  };

  const notePath = (hash: number, source: number, hour: number): void => {
    const many = ofMany.get(hash);
    if (many !== undefined) {
      if (hour - hourOf(many) >= HOURS_PER_DAY) put(ofMany, hash, hour, 0);
      return;
    }
    const one = ofOne.get(hash);
    if (one === undefined) put(ofOne, hash, hour, source);
    else if (one % 65_536 !== source) {
      ofOne.delete(hash);
      put(ofMany, hash, hour, 0);
    } else if (hour - hourOf(one) >= HOURS_PER_DAY) put(ofOne, hash, hour, source);
  };

  const wasServed = (hash: number, source: number, hour: number): boolean => {
    const entry = ofMany.get(hash) ?? ofOne.get(hash);
    if (entry === undefined || hour - hourOf(entry) > PATH_HOURS) return false;
    const only = entry % 65_536;
    return only === 0 || only !== source || hour - hourOf(entry) >= 1;
  };

  const keep = (route: PlainRoute): void => {
    revision++;
    if (routes.has(route.key)) return;
    if (routes.size >= MAX_ROUTES)
      for (const [key, { servedAt }] of routes) if (servedAt < newestMs - ROUTE_MS) routes.delete(key);
    if (routes.size >= MAX_ROUTES) return;
    routes.set(route.key, route);
  };

  const noteRoute = (match: RouteMatch, atMs: number): void => {
    let route = known.get(match);
    if (route === undefined) {
      const found = plainRoute(match);
      route = (found && routes.get(found.key)) ?? found;
      known.set(match, route);
    }
    if (route === null) return;
    const { servedAt } = route;
    route.servedAt = Math.max(servedAt, atMs);
    if (dayOf(atMs) > dayOf(servedAt)) keep(route);
  };

  /** Is there a route no more that would have taken the call, by a prefix longer than `least`? */
  const isRouteGone = (call: ApiCall, least: number): boolean => {
    const { startedAt } = call;
    const host = hostName(call.host);
    for (const { hosts, methods, prefixes, servedAt } of routes.values()) {
      if (startedAt - servedAt <= ROUTE_ALIVE_MS || startedAt - servedAt > ROUTE_MS) continue;
      if (methods.length > 0 && !methods.includes(call.method)) continue;
      if (hosts.length > 0 && !hosts.some((pattern) => fitsHost(pattern, host))) continue;
      for (const prefix of prefixes)
        if (prefix.length > least && call.path.startsWith(prefix) && (prefix.length > 1 || hosts.length > 0))
          return true;
    }
    return false;
  };

  const noteSource = (source: number, atMs: number, hasRoute: boolean): void => {
    const last = sources.get(source);
    if (last !== undefined) {
      routed -= last % 2;
      sources.delete(source);
    }
    sources.set(source, atMs * 2 + (hasRoute ? 1 : 0));
    if (hasRoute) routed++;
    for (const [oldest, entry] of sources) {
      if (sources.size <= MAX_SOURCES && entry / 2 >= newestMs - SOURCES_MS) break;
      sources.delete(oldest);
      routed -= entry % 2;
    }
    const day = dayOf(newestMs);
    if (day > mostRoutedDay) {
      mostRouted /= 2 ** (day - mostRoutedDay);
      mostRoutedDay = day;
    }
    mostRouted = Math.max(mostRouted, routed);
  };

  const isEverybody = (): boolean =>
    sources.size >= EVERYBODY &&
    routed <= ROUTED_SHARE * sources.size &&
    routed <= ROUTED_OF_MOST * mostRouted;

  if (options.saved) restore(options.saved);

  return {
    observe(call, route) {
      const { startedAt, path } = call;
      if (path === '') return false;
      newestMs = Math.max(newestMs, startedAt);
      const hour = Math.floor(startedAt / HOUR_MS);
      const source = textHash(0x811c_9dc5, sourceOf(call) ?? call.actorId);
      const short = (source % 65_535) + 1;
      const noRoute = isWithoutRoute(call);
      noteSource(source, startedAt, !noRoute);
      if (route !== undefined && call.route !== undefined) noteRoute(route, startedAt);
      if (isServed(call)) notePath(pathHash(call), short, hour);
      if (noRoute) return isEverybody() || wasServed(pathHash(call), short, hour) || isRouteGone(call, 0);
      if (call.status !== 404 || call.source !== 'upstream') return false;
      if (!call.endpoint.includes('{') && wasServed(pathHash(call), short, hour)) return true;
      const taken = route === undefined ? undefined : known.get(route);
      return taken != null && isRouteGone(call, longestPrefix(taken, path));
    },
    get revision() {
      return revision;
    },
    saved: () => ({
      routes: [...routes.values()].map(({ hosts, methods, prefixes, servedAt }) => ({
        hosts,
        methods,
        prefixes,
        servedAt,
      })),
      paths: [...ofOne, ...ofMany].map(([hash, entry]) => [hash, hourOf(entry), entry % 65_536]),
    }),
  };

  function restore(saved: SavedServedPaths): void {
    for (const { hosts, methods, prefixes, servedAt } of saved.routes.slice(0, MAX_ROUTES)) {
      const key = JSON.stringify([hosts, methods, prefixes]);
      routes.set(key, { key, hosts, methods, prefixes, servedAt });
    }
    for (const [hash, hour, source] of saved.paths) put(source === 0 ? ofMany : ofOne, hash, hour, source);
    revision = 0;
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
