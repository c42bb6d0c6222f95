import type { LineBytes } from './frames.ts';

/**
 * Reads the fields that Tripline needs out of one log line, in one pass over the text.
 *
 * `JSON.parse` would build every object of a line of about 2 kB, most of it the route and service entities that are thrown
 * away again. This reader walks the same text, checks that it is well formed, and makes values only of what is asked for.
 * A property test holds it against `JSON.parse`.
 */

/**
 * What a call must be like for a route to take it, as the route entity says it, of any type. Of a route that was read before
 * it is the same object.
 */
export interface RouteMatch {
  paths: unknown;
  hosts: unknown;
  methods: unknown;
  headers: unknown;
  snis: unknown;
}

/** What a log line says, as it says it: untrusted, nothing sanitised, types as they come. Absent is undefined. */
export interface KongLogLine {
  startedAt: unknown;
  clientIp: unknown;
  upstreamStatus: unknown;
  source: unknown;
  workspaceName: unknown;
  requestId: unknown;
  method: unknown;
  uri: unknown;
  requestSize: unknown;
  /** In the order of `headerNames`. */
  requestHeaders: readonly unknown[];
  querystring: Map<string, unknown>;
  status: unknown;
  responseSize: unknown;
  wwwAuthenticate: unknown;
  /** Response header `content-length`: Kong's own refusals are told apart by it. */
  contentLength: unknown;
  /** Response header `content-type`. */
  answerType: unknown;
  location: unknown;
  grpcStatus: unknown;
  latencyRequest: unknown;
  latencyProxy: unknown;
  consumerId: unknown;
  consumerUsername: unknown;
  consumerCustomId: unknown;
  consumerTags: unknown;
  authenticatedEntityId: unknown;
  serviceId: unknown;
  serviceName: unknown;
  routeId: unknown;
  routeName: unknown;
  routePaths: unknown;
  /** Undefined without a route. */
  routeMatch: RouteMatch | undefined;
  token: unknown;
  credential: unknown;
  user: unknown;
  claim: unknown;
  /** The line of a TCP or TLS session: `session` in the place of request and response. */
  isStreamSession: boolean;
}

/** Why a text is no log line: `not-json`, `too-deep` or `not-a-log-line`. */
export class LogLineError extends Error {
  override name = 'LogLineError';
  readonly reason: 'not-json' | 'too-deep' | 'not-a-log-line';
  constructor(reason: LogLineError['reason'], detail: string) {
    super(detail);
    this.reason = reason;
  }
}

export interface ReaderOptions {
  /** Deepest nesting of objects and arrays that is followed. */
  maxDepth: number;
  /** Lower-case names of the request headers that are of interest. */
  headerNames: readonly string[];
}

const quote = 34;
const digit0 = 48;
const digit9 = 57;
const comma = 44;
const colon = 58;
const openBracket = 91;
const backslash = 92;
const closeBracket = 93;
const openBrace = 123;
const closeBrace = 125;

const numberShape = /^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$/;

type Member = (name: string, depth: number) => void;

/** Names of members that are of interest, to be found by their bytes; null for any name. */
type Names = readonly (NameBytes | undefined)[] | null;

interface NameBytes {
  name: string;
  bytes: Buffer;
  /** Another one in the same slot. */
  next: NameBytes | undefined;
}

const slots = 64;

/** Length and last byte tell nearly all names of a log line apart. */
const slotOf = (length: number, lastByte: number): number => (length + lastByte * 5) & (slots - 1);

const namesOf = (names: Iterable<string>): (NameBytes | undefined)[] => {
  const table = new Array<NameBytes | undefined>(slots).fill(undefined);
  for (const name of names) {
    const bytes = Buffer.from(name);
    const slot = slotOf(bytes.length, bytes[bytes.length - 1]!);
    table[slot] = { name, bytes, next: table[slot] };
  }
  return table;
};

const noNames = namesOf([]);

/** The text of a service or route entity that was read before, from brace to brace. */
interface KnownEntity {
  bytes: Buffer;
  id: unknown;
  name: unknown;
  /** Empty for a service. */
  match: RouteMatch;
}

const newEntity = (): KnownEntity => ({
  bytes: noBytes,
  id: undefined,
  name: undefined,
  match: { paths: undefined, hosts: undefined, methods: undefined, headers: undefined, snis: undefined },
});

/** Bounds of what is remembered of each kind. */
const maxKnownEntities = 2_000;
const maxCandidates = 8;
const maxKnownEntityChars = 8_192;

/** Makes a reader. Of a line it remembers only the text of its service and route entity. Throws `LogLineError`. Invalid UTF-8 is read as U+FFFD. */
export function createLogLineReader(options: ReaderOptions): (line: LineBytes) => KongLogLine {
  const { maxDepth, headerNames } = options;
  // The line's bytes, and the same as a string with one character per byte: bytes are fast to look at one by one, the
  // string is fast to cut. Pieces with bytes of 128 and more are decoded when they are cut out.
  let bytes: Buffer = Buffer.alloc(0);
  let text = '';
  let at = 0;
  /** Where the line begins, and its line feed at the end. */
  let begin = 0;
  let last = 0;
  // In here, because a bundler turns the constants of a module into variables.
  const marks = stringMarks();
  const services = new Map<number, KnownEntity[]>();
  const routes = new Map<number, KnownEntity[]>();

  const fail = (what: string): never => {
    throw new LogLineError('not-json', `${what} at character ${at - begin + 1} of the line`);
  };

  /** Over white space, of which Kong writes none; returns the byte there, the line feed at the very end included. */
  const skipSpace = (): number => {
    const code = bytes[at]!;
    return code > 32 ? code : overSpace();
  };

  const overSpace = (): number => {
    let code = bytes[at]!;
    while (code <= 32 && at < last) {
      if (code !== 32 && code !== 9 && code !== 10 && code !== 13) fail('a raw control character');
      code = bytes[++at]!;
    }
    return code;
  };

  /** From an opening quote to behind the closing one; true if what is between cannot be taken as it stands. */
  const passString = (): boolean => {
    const all = bytes;
    const marked = marks;
    let i = at + 1;
    while (marked[all[i]!] === 0) i++;
    if (all[i] === quote) {
      at = i + 1;
      return false;
    }
    at = endOfOdd(all, i);
    return true;
  };

  /** The same from a byte on that is not taken as it stands. */
  const endOfOdd = (all: Uint8Array, from: number): number => {
    let i = from;
    for (;;) {
      const code = all[i]!;
      if (code === quote) return i + 1;
      if (code === backslash) {
        i++;
        if (!isEscape(all, i)) {
          at = i;
          fail('a wrong escape');
        }
      } else if (code < 32) {
        // The line ends with a line feed: no string runs past it.
        at = i;
        fail('a string without an end, or a raw control character in it,');
      }
      i++;
    }
  };

  const readString = (): string => {
    const begin = at;
    return passString() ? cut(begin) : text.slice(begin + 1, at - 1);
  };

  /** The string from the quote at `begin` to the quote before `at`, decoded and unescaped. */
  const cut = (begin: number): string => {
    // Invalid UTF-8 becomes U+FFFD here.
    const piece = Buffer.from(text.slice(begin, at), 'latin1').toString('utf8');
    if (!piece.includes('\\')) return piece.slice(1, -1);
    try {
      return JSON.parse(piece) as string;
    } catch {
      at = begin;
      return fail('a string with a wrong escape');
    }
  };

  const endOfScalar = (): void => {
    const all = bytes;
    let i = at;
    let code = all[++i]!;
    while (code !== comma && code !== closeBrace && code !== closeBracket && code > 32) code = all[++i]!;
    at = i;
  };

  const readScalar = (): unknown => {
    const all = bytes;
    const begin = at;
    // Nearly all numbers of a log line are whole, positive and short.
    let i = at;
    let value = 0;
    let code = all[i]!;
    while (code >= digit0 && code <= digit9) {
      value = value * 10 + (code - digit0);
      code = all[++i]!;
    }
    const plain = code === comma || code === closeBrace || code === closeBracket;
    if (plain && i > begin && i - begin <= 15 && (all[begin] !== digit0 || i === begin + 1)) {
      at = i;
      return value;
    }
    endOfScalar();
    const word = text.slice(begin, at);
    if (word === 'true') return true;
    if (word === 'false') return false;
    if (word === 'null') return null;
    if (!numberShape.test(word)) {
      at = begin;
      return fail('neither a value nor an end');
    }
    return Number(word);
  };

  /** The name of `names` that stands from `from` to `to`, or undefined. */
  const nameAt = (
    names: readonly (NameBytes | undefined)[],
    from: number,
    to: number,
  ): string | undefined => {
    const all = bytes;
    const length = to - from;
    let one = names[slotOf(length, all[to - 1]!)];
    for (; one !== undefined; one = one.next) {
      const own = one.bytes;
      if (own.length !== length) continue;
      let i = 0;
      while (i < length && own[i] === all[from + i]) i++;
      if (i === length) return one.name;
    }
    return undefined;
  };

  /**
   * Calls `member` at the value of each member of the object at `at` that has one of the names; it must read or skip the
   * value. Others are skipped: most members are of no interest. Names with an escape are left to `member`.
   */
  const eachMember = (depth: number, member: Member, names: Names): void => {
    if (depth > maxDepth) throw new LogLineError('too-deep', `nested deeper than ${maxDepth} levels`);
    at++;
    let code = skipSpace();
    if (code === closeBrace) {
      at++;
      return;
    }
    for (;;) {
      if (code !== quote) fail('no member name');
      const begin = at;
      const odd = passString();
      let name: string | undefined;
      if (names !== noNames) {
        if (odd) name = cut(begin);
        else name = names === null ? text.slice(begin + 1, at - 1) : nameAt(names, begin + 1, at - 1);
      }
      if (skipSpace() !== colon) fail('no colon after a member name');
      at++;
      skipSpace();
      if (name === undefined) skip(depth);
      else member(name, depth);
      code = skipSpace();
      at++;
      if (code === closeBrace) return;
      if (code !== comma) fail('neither comma nor closing brace');
      code = skipSpace();
    }
  };

  const eachItem = (depth: number, item: (depth: number) => void): void => {
    if (depth > maxDepth) throw new LogLineError('too-deep', `nested deeper than ${maxDepth} levels`);
    at++;
    let code = skipSpace();
    if (code === closeBracket) {
      at++;
      return;
    }
    for (;;) {
      item(depth);
      code = skipSpace();
      at++;
      if (code === closeBracket) return;
      if (code !== comma) fail('neither comma nor closing bracket');
      skipSpace();
    }
  };

  const skipMember = (_name: string, depth: number): void => skip(depth);

  /** Over a value, without making anything of it. */
  const skip = (depth: number): void => {
    const code = bytes[at];
    if (code === quote) passString();
    else if (code === openBrace) eachMember(depth + 1, skipMember, noNames);
    else if (code === openBracket) eachItem(depth + 1, skip);
    else readScalar();
  };

  const read = (depth: number): unknown => {
    const code = bytes[at];
    if (code === quote) return readString();
    if (code === openBracket) {
      const items: unknown[] = [];
      eachItem(depth + 1, (inner) => items.push(read(inner)));
      return items;
    }
    if (code === openBrace) {
      // Nothing that is asked for is an object inside a list or a header: it only has to be well formed.
      eachMember(depth + 1, skipMember, noNames);
      return {};
    }
    return readScalar();
  };

  /** Members of the object at `at`; anything else in its place is skipped, as if it were empty. */
  const members = (depth: number, member: Member, names: Names): void => {
    if (bytes[at] === openBrace) eachMember(depth + 1, member, names);
    else skip(depth);
  };

  const headerAt = new Map(headerNames.map((name, index) => [name, index]));
  /** Of a line without any of them. */
  const noHeaders = new Array<unknown>(headerNames.length).fill(undefined);
  let line = emptyLine(noHeaders);
  let headers = noHeaders;

  const wantedHeaders = namesOf(headerNames);
  const header = (name: string, depth: number): void => {
    const index = headerAt.get(name);
    if (index === undefined) {
      skip(depth);
      return;
    }
    if (headers === noHeaders) line.requestHeaders = headers = noHeaders.slice();
    headers[index] = read(depth);
  };
  const parameter = (name: string, depth: number): void => {
    if (line.querystring === none) line.querystring = new Map();
    line.querystring.set(name, read(depth));
  };
  const requestNames = namesOf(['headers', 'querystring', 'uri', 'method', 'size', 'id']);
  const request = (name: string, depth: number): void => {
    if (name === 'headers') members(depth, header, wantedHeaders);
    else if (name === 'querystring') members(depth, parameter, null);
    else if (name === 'uri') line.uri = read(depth);
    else if (name === 'method') line.method = read(depth);
    else if (name === 'size') line.requestSize = read(depth);
    else if (name === 'id') line.requestId = read(depth);
    else skip(depth);
  };
  const responseHeaderNames = namesOf([
    'www-authenticate',
    'content-length',
    'content-type',
    'location',
    'grpc-status',
  ]);
  const responseHeader = (name: string, depth: number): void => {
    if (name === 'www-authenticate') line.wwwAuthenticate = read(depth);
    else if (name === 'content-length') line.contentLength = read(depth);
    else if (name === 'content-type') line.answerType = read(depth);
    else if (name === 'location') line.location = read(depth);
    else if (name === 'grpc-status') line.grpcStatus = read(depth);
    else skip(depth);
  };
  const responseNames = namesOf(['headers', 'status', 'size']);
  const response = (name: string, depth: number): void => {
    if (name === 'headers') members(depth, responseHeader, responseHeaderNames);
    else if (name === 'status') line.status = read(depth);
    else if (name === 'size') line.responseSize = read(depth);
    else skip(depth);
  };
  const latenciesNames = namesOf(['request', 'proxy']);
  const latencies = (name: string, depth: number): void => {
    if (name === 'request') line.latencyRequest = read(depth);
    else if (name === 'proxy') line.latencyProxy = read(depth);
    else skip(depth);
  };
  const consumerNames = namesOf(['id', 'username', 'custom_id', 'tags']);
  const consumer = (name: string, depth: number): void => {
    if (name === 'id') line.consumerId = read(depth);
    else if (name === 'username') line.consumerUsername = read(depth);
    else if (name === 'custom_id') line.consumerCustomId = read(depth);
    else if (name === 'tags') line.consumerTags = read(depth);
    else skip(depth);
  };
  const authenticatedEntityNames = namesOf(['id']);
  const authenticatedEntity = (name: string, depth: number): void => {
    if (name === 'id') line.authenticatedEntityId = read(depth);
    else skip(depth);
  };
  let entity = newEntity();
  const entityMemberNames = namesOf(['id', 'name', 'paths', 'hosts', 'methods', 'headers', 'snis']);
  const entityMember = (name: string, depth: number): void => {
    if (name === 'id') entity.id = ownOf(read(depth));
    else if (name === 'name') entity.name = ownOf(read(depth));
    else if (name === 'paths') entity.match.paths = ownOf(read(depth));
    else if (name === 'hosts') entity.match.hosts = ownOf(read(depth));
    else if (name === 'methods') entity.match.methods = ownOf(read(depth));
    else if (name === 'headers') entity.match.headers = ownOf(read(depth));
    else if (name === 'snis') entity.match.snis = ownOf(read(depth));
    else skip(depth);
  };
  /** A service or route: about half of a line, and to the letter the same as in many lines before. */
  const readEntity = (known: Map<number, KnownEntity[]>, depth: number): KnownEntity => {
    const all = bytes;
    const begin = at;
    // Some bytes from its middle tell most entities apart; the rest is compared.
    let key = 0;
    const keyEnd = Math.min(begin + 220, last);
    for (let i = begin + 170; i < keyEnd; i += 3) key = (Math.imul(key, 31) + all[i]!) | 0;
    const candidates = known.get(key);
    if (candidates) {
      for (const one of candidates) {
        const end = begin + one.bytes.length;
        if (end <= last && bytes.compare(one.bytes, 0, one.bytes.length, begin, end) === 0) {
          at = end;
          return one;
        }
      }
    }
    entity = newEntity();
    members(depth, entityMember, entityMemberNames);
    if (bytes[begin] === openBrace && at - begin <= maxKnownEntityChars) {
      // A copy, since a piece would keep the whole line in memory.
      entity.bytes = Buffer.from(bytes.subarray(begin, at));
      if (known.size >= maxKnownEntities) known.clear();
      if (candidates && candidates.length < maxCandidates) candidates.push(entity);
      else known.set(key, [entity]);
    }
    return entity;
  };

  const triplineNames = namesOf(['token', 'credential', 'user', 'claim']);
  const tripline = (name: string, depth: number): void => {
    if (name === 'token') line.token = read(depth);
    else if (name === 'credential') line.credential = read(depth);
    else if (name === 'user') line.user = read(depth);
    else if (name === 'claim') line.claim = read(depth);
    else skip(depth);
  };
  const topNames = namesOf([
    'request',
    'response',
    'latencies',
    'consumer',
    'authenticated_entity',
    'service',
    'route',
    'tripline',
    'started_at',
    'client_ip',
    'upstream_status',
    'source',
    'workspace_name',
    'session',
  ]);
  /** Whether the line has the members `session`, `request` and `response`. */
  let has = { session: false, request: false, response: false };
  const top = (name: string, depth: number): void => {
    switch (name) {
      case 'session':
        has.session = bytes[at] === openBrace;
        return skip(depth);
      case 'request':
        has.request = true;
        return members(depth, request, requestNames);
      case 'response':
        has.response = true;
        return members(depth, response, responseNames);
      case 'latencies':
        return members(depth, latencies, latenciesNames);
      case 'consumer':
        return members(depth, consumer, consumerNames);
      case 'authenticated_entity':
        return members(depth, authenticatedEntity, authenticatedEntityNames);
      case 'service': {
        const service = readEntity(services, depth);
        line.serviceId = service.id;
        line.serviceName = service.name;
        return;
      }
      case 'route': {
        const route = readEntity(routes, depth);
        line.routeId = route.id;
        line.routeName = route.name;
        line.routePaths = route.match.paths;
        line.routeMatch = route.match;
        return;
      }
      case 'tripline':
        return members(depth, tripline, triplineNames);
      case 'started_at':
        line.startedAt = read(depth);
        return;
      case 'client_ip':
        line.clientIp = read(depth);
        return;
      case 'upstream_status':
        line.upstreamStatus = read(depth);
        return;
      case 'source':
        line.source = read(depth);
        return;
      case 'workspace_name':
        line.workspaceName = read(depth);
        return;
      default:
        return skip(depth);
    }
  };

  return (input) => {
    bytes = input.bytes;
    text = input.latin1;
    at = begin = input.begin;
    last = input.end - 1;
    line = emptyLine(noHeaders);
    headers = noHeaders;
    has = { session: false, request: false, response: false };
    // A byte order mark is no JSON, but nobody's attack either.
    if (bytes[at] === 0xef && bytes[at + 1] === 0xbb && bytes[at + 2] === 0xbf) at += 3;
    if (skipSpace() !== openBrace) {
      skip(0);
      skipSpace();
      if (at === last) throw new LogLineError('not-a-log-line', 'JSON, but not an object');
      fail('something behind the value');
    }
    eachMember(1, top, topNames);
    skipSpace();
    if (at !== last) fail('something behind the object');
    line.isStreamSession = has.session && !has.request && !has.response;
    return line;
  };
}

/** Is `\` and what stands at `at` an escape of JSON? */
function isEscape(all: Uint8Array, at: number): boolean {
  const code = all[at]!;
  if (code !== 117) return '"\\/bfnrt'.includes(String.fromCharCode(code));
  for (let i = at + 1; i <= at + 4; i++) {
    const digit = all[i]! | 32;
    if (!((all[i]! >= digit0 && all[i]! <= digit9) || (digit >= 97 && digit <= 102))) return false;
  }
  return true;
}

/** By byte: 1 for what ends a string or cannot be taken as it stands in one. */
function stringMarks(): Uint8Array {
  const marks = new Uint8Array(256);
  for (let code = 0; code < 256; code++)
    if (code < 32 || code >= 128 || code === quote || code === backslash) marks[code] = 1;
  return marks;
}

/** The same strings, without the line in memory that they were cut out of: joined and cut again they are of their own. */
function ownOf(value: unknown): unknown {
  if (typeof value === 'string') return ` ${value}`.slice(1);
  return Array.isArray(value) ? value.map(ownOf) : value;
}

const noBytes: Buffer = Buffer.alloc(0);

/** Stays empty: most lines have no parameters, and need no map of their own. */
const none = new Map<string, unknown>();

function emptyLine(requestHeaders: readonly unknown[]): KongLogLine {
  return {
    startedAt: undefined,
    clientIp: undefined,
    upstreamStatus: undefined,
    source: undefined,
    workspaceName: undefined,
    requestId: undefined,
    method: undefined,
    uri: undefined,
    requestSize: undefined,
    requestHeaders,
    querystring: none,
    status: undefined,
    responseSize: undefined,
    wwwAuthenticate: undefined,
    contentLength: undefined,
    answerType: undefined,
    location: undefined,
    grpcStatus: undefined,
    latencyRequest: undefined,
    latencyProxy: undefined,
    consumerId: undefined,
    consumerUsername: undefined,
    consumerCustomId: undefined,
    consumerTags: undefined,
    authenticatedEntityId: undefined,
    serviceId: undefined,
    serviceName: undefined,
    routeId: undefined,
    routeName: undefined,
    routePaths: undefined,
    routeMatch: undefined,
    token: undefined,
    credential: undefined,
    user: undefined,
    claim: undefined,
    isStreamSession: false,
  };
}
