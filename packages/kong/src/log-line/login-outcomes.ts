/**
 * Learns, for login endpoints that answer 200 or a redirect whatever happens, which answers are failures. Whoever is refused tries
 * again within minutes, and whoever gets in does not; so an answer (status, size, redirect target) that most clients repeat is a
 * failure, one that they seldom repeat a success. Nothing is said of an endpoint until both kinds were seen with enough clients.
 *
 * What one client does counts once per answer, so that no single client teaches anything. Once an answer is decided it is not
 * learnt about for RELEARN_MS, so that an attack does not change what was learnt before it.
 *
 * Pure: time is that of the calls. Bounded, see the constants; about 200 bytes per answer and per client that waits.
 */
export class LoginOutcomes {
  /** Least recently used first. */
  readonly #endpoints = new Map<string, Endpoint>();
  /** The latest answer to each client on each endpoint, oldest first, until RETRY_MS have passed. */
  readonly #waiting = new Map<string, Waiting>();
  #newestMs = 0;

  /**
   * Takes an answer to a login into account. Returns what it means as far as that was known before; undefined if not. `source` is
   * the client's address, of IPv6 its /64 (see `sourceOf`); `redirect` the path of a `location` header.
   */
  note(answer: LoginAnswer): 'failure' | 'success' | undefined {
    const { endpoint: name, source, atMs } = answer;
    this.#newestMs = Math.max(this.#newestMs, atMs);
    this.#settleWaiting();
    const endpoint = this.#endpoint(name);
    const key = `${answer.status} ${answer.responseBytes} ${answer.redirect ?? ''}`.slice(0, KEY_LENGTH_MOST);
    const waitingKey = `${source} ${name}`;
    const before = this.#waiting.get(waitingKey);
    this.#waiting.delete(waitingKey);
    if (endpoint === undefined) return undefined;
    if (before && this.#newestMs - before.atMs <= RETRY_MS) vote(endpoint, before, 'again', this.#newestMs);
    const kind = this.#kind(endpoint, key);
    if (kind) this.#wait(waitingKey, { endpoint: name, key, client: clientHash(source), atMs });
    return kind?.decision;
  }

  /** Endpoints, answers and waiting clients that are remembered, for tests of the bounds. */
  get sizes(): { endpoints: number; answers: number; waiting: number } {
    let answers = 0;
    for (const { kinds } of this.#endpoints.values()) answers += kinds.size;
    return { endpoints: this.#endpoints.size, answers, waiting: this.#waiting.size };
  }

  /** Clients that did not come again within RETRY_MS had what they wanted, or gave up. */
  #settleWaiting(): void {
    for (const [key, waiting] of this.#waiting) {
      if (this.#newestMs - waiting.atMs <= RETRY_MS) return;
      this.#waiting.delete(key);
      const endpoint = this.#endpoints.get(waiting.endpoint);
      if (endpoint) vote(endpoint, waiting, 'stopped', this.#newestMs);
    }
  }

  #wait(key: string, waiting: Waiting): void {
    this.#waiting.set(key, waiting);
    if (this.#waiting.size <= WAITING_MOST) return;
    const [oldest] = this.#waiting.keys();
    this.#waiting.delete(oldest!);
  }

  /** Where there are too many, the least recently used one of which nothing is decided makes room; if there is none, nothing is learnt. */
  #endpoint(name: string): Endpoint | undefined {
    const known = this.#endpoints.get(name);
    if (known) {
      this.#endpoints.delete(name);
      this.#endpoints.set(name, known);
      return known;
    }
    if (this.#endpoints.size >= ENDPOINTS_MOST) {
      const spare = [...this.#endpoints].find(([, { kinds }]) =>
        [...kinds.values()].every(({ decision }) => decision === undefined),
      );
      if (!spare) return undefined;
      this.#endpoints.delete(spare[0]);
    }
    const endpoint: Endpoint = { kinds: new Map() };
    this.#endpoints.set(name, endpoint);
    return endpoint;
  }

  /** The same among the answers of an endpoint: those that fewest clients got make room, once they had an hour. */
  #kind(endpoint: Endpoint, key: string): Kind | undefined {
    const { kinds } = endpoint;
    const known = kinds.get(key);
    if (known) return known;
    if (kinds.size >= ANSWERS_MOST) {
      let spare: [string, Kind] | undefined;
      for (const one of kinds) {
        const [, { decision, sinceMs }] = one;
        if (decision !== undefined || this.#newestMs - sinceMs < SPARE_AFTER_MS) continue;
        if (!spare || votesOf(one[1]) < votesOf(spare[1])) spare = one;
      }
      if (!spare) return undefined;
      kinds.delete(spare[0]);
    }
    const kind: Kind = { again: newBits(), stopped: newBits(), decision: undefined, sinceMs: this.#newestMs };
    kinds.set(key, kind);
    return kind;
  }
}

export interface LoginAnswer {
  endpoint: string;
  source: string;
  status: number;
  responseBytes: number;
  redirect?: string;
  atMs: number;
}

/** Who is refused tries again within this time. */
const RETRY_MS = 5 * 60_000;
/** Clients that must have had an answer until it is decided, and of the other kind together. */
const CLIENTS_LEAST = 20;
/** Shares of the clients that try again: after a failure most, after a success hardly any. */
const FAILURE_SHARE_LEAST = 0.6;
const SUCCESS_SHARE_MOST = 0.2;
const RELEARN_MS = 30 * 24 * 3_600_000;

const ENDPOINTS_MOST = 256;
/** Different answers per endpoint. */
const ANSWERS_MOST = 32;
const SPARE_AFTER_MS = 3_600_000;
const WAITING_MOST = 20_000;
const KEY_LENGTH_MOST = 120;
/** Of a bit map that counts clients: enough for some 1,000 clients, and decided long before. */
const BITS = 512;
const BITS_FULL = 480;

interface Endpoint {
  kinds: Map<string, Kind>;
}

interface Kind {
  /** Clients that tried again, and that did not, as bit maps of their hashes. */
  again: Uint32Array;
  stopped: Uint32Array;
  decision: 'failure' | 'success' | undefined;
  /** When it was first seen, or decided. */
  sinceMs: number;
}

interface Waiting {
  endpoint: string;
  key: string;
  client: number;
  atMs: number;
}

const newBits = (): Uint32Array => new Uint32Array(BITS / 32);

function vote(
  endpoint: Endpoint,
  { key, client }: Waiting,
  outcome: 'again' | 'stopped',
  nowMs: number,
): void {
  const kind = endpoint.kinds.get(key);
  if (!kind) return;
  if (kind.decision !== undefined) {
    if (nowMs - kind.sinceMs < RELEARN_MS) return;
    // What was decided holds until as many clients say otherwise.
    if (votesOf(kind) > 2 * CLIENTS_LEAST) {
      kind.again.fill(0);
      kind.stopped.fill(0);
    }
  }
  const bits = kind[outcome];
  const bit = 1 << (client & 31);
  if ((bits[client >> 5]! & bit) !== 0 || countOf(bits) >= BITS_FULL) return;
  bits[client >> 5]! |= bit;
  decide(endpoint, nowMs);
}

/** Decides what can be: only where there are failures and successes, as an endpoint that everybody polls has one kind alone. */
function decide({ kinds }: Endpoint, nowMs: number): void {
  const isFailure = (kind: Kind): boolean =>
    countOf(kind.again) >= CLIENTS_LEAST && shareOf(kind) >= FAILURE_SHARE_LEAST;
  const isSuccess = (kind: Kind): boolean =>
    countOf(kind.stopped) >= CLIENTS_LEAST && shareOf(kind) <= SUCCESS_SHARE_MOST;
  const all = [...kinds.values()];
  const hasFailures = all.some((kind) => kind.decision === 'failure' || isFailure(kind));
  // Answers to those who get in may be of many sizes, none of which many clients get.
  const others = { again: newBits(), stopped: newBits() };
  for (const kind of all) if (!isFailure(kind)) addBits(others, kind);
  const hasSuccesses =
    all.some(({ decision }) => decision === 'success') ||
    (countOf(others.stopped) >= CLIENTS_LEAST && shareOf(others) <= SUCCESS_SHARE_MOST);
  if (!hasFailures || !hasSuccesses) return;
  for (const kind of all) {
    if (kind.decision !== undefined && nowMs - kind.sinceMs < RELEARN_MS) continue;
    const decision = isFailure(kind) ? 'failure' : isSuccess(kind) ? 'success' : undefined;
    if (decision === undefined) continue;
    kind.decision = decision;
    kind.sinceMs = nowMs;
    kind.again.fill(0);
    kind.stopped.fill(0);
  }
}

type Votes = Pick<Kind, 'again' | 'stopped'>;

function addBits(to: Votes, from: Votes): void {
  for (let at = 0; at < BITS / 32; at++) {
    to.again[at]! |= from.again[at]!;
    to.stopped[at]! |= from.stopped[at]!;
  }
}

/** Number of clients, by linear counting. */
function countOf(bits: Uint32Array): number {
  let set = 0;
  for (const word of bits) {
    for (let rest = word; rest !== 0; rest &= rest - 1) set++;
  }
  return set === 0 ? 0 : -BITS * Math.log(1 - Math.min(set, BITS - 1) / BITS);
}

function votesOf(votes: Votes): number {
  return countOf(votes.again) + countOf(votes.stopped);
}

/** Share of the clients that tried again. */
function shareOf(votes: Votes): number {
  const again = countOf(votes.again);
  return again === 0 ? 0 : again / votesOf(votes);
}

/** Place in the bit maps: of an IPv4 address; of an IPv6 /64 by its /48, as whoever has one /64 may have thousands. */
function clientHash(source: string): number {
  const colon = source.indexOf(':');
  const text = colon < 0 ? source : source.split(':').slice(0, 3).join(':');
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return ((hash ^ (hash >>> 16)) >>> 0) % BITS;
}
