import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type { ConnectionOptions } from 'node:tls';
import { Cluster, Redis } from 'ioredis';

export interface RedisConnectionOptions {
  /** `redis://user:password@host:6379/0`, `rediss://` for TLS. Either this or `cluster`. */
  url?: string;
  /** Nodes of a Redis Cluster to ask first, as `host:port`. */
  cluster?: readonly string[];
  /** Where the URL has none. */
  username?: string;
  password?: string;
  tls?: ConnectionOptions;
  /** Told when Redis stops working for us, and when it works again. */
  onLog?: (level: 'info' | 'warn' | 'error', message: string, detail?: Record<string, unknown>) => void;
}

export type Argument = string | number | Buffer;

/** A Lua script, known to Redis by its hash once it was sent. */
export interface Script {
  lua: string;
  sha: string;
}

export function scriptOf(lua: string): Script {
  return { lua, sha: createHash('sha1').update(lua).digest('hex') };
}

/** A command that has no answer after so long fails: whoever waits for it can tell, and try again. */
const answerWithinMs = 5_000;
const retryMostMs = 2_000;

/** Name of the error of commands whose connection broke before the answer came. */
const brokenOff = 'MaxRetriesPerRequestError';

class NoAnswerError extends Error {}

/** Errors after which reading may well go on. */
const writeErrors = new Set(['OOM', 'READONLY', 'MISCONF', 'NOREPLICAS']);

/**
 * A connection to Redis, or to the nodes of a Redis Cluster, that is opened by the first command and opened again for ever.
 * A command is sent once: it fails when the connection breaks or no answer comes, and then may or may not have been
 * carried out.
 */
export class RedisConnection {
  readonly #client: Redis | Cluster;
  readonly #address: string;
  readonly #onLog: NonNullable<RedisConnectionOptions['onLog']>;
  /** Why nothing works, and why nothing can be written, in words. */
  #noAnswer: string | null = null;
  #noWrites: string | null = null;
  #closing = false;
  /** Shared by all who wait for the connection. */
  #connecting: Promise<unknown> | undefined;

  constructor(options: RedisConnectionOptions) {
    this.#onLog = options.onLog ?? (() => undefined);
    const { client, address } = open(options);
    this.#client = client;
    this.#address = address;
    client.on('error', (error: Error) => this.#failed(error));
    client.on('ready', () => {
      this.#answers();
      void this.#checkPolicy();
    });
  }

  /** Strings of the answer come as Buffers. Rejects with an error that says what is wrong with Redis in words. */
  async call<T>(command: string, args: Argument[]): Promise<T> {
    return (await this.#within(() => this.#client.callBuffer(command, args))) as T;
  }

  /** Runs a script that writes; all keys must belong to one hash slot. Rejects as `call` does. */
  async run<T>(script: Script, keys: readonly string[], args: readonly Argument[]): Promise<T> {
    const rest: Argument[] = [keys.length, ...keys, ...args];
    const answer = await this.#within(async () => {
      try {
        return await this.#client.callBuffer('EVALSHA', [script.sha, ...rest]);
      } catch (error) {
        // Redis forgets scripts when it restarts.
        if (codeOf(error) !== 'NOSCRIPT') throw error;
        return this.#client.callBuffer('EVAL', [script.lua, ...rest]);
      }
    });
    if (this.#noWrites !== null) {
      this.#noWrites = null;
      this.#onLog('info', `Redis at ${this.#address} takes writes again`);
    }
    return answer as T;
  }

  /** Each node that holds keys of its own, for commands that look at a whole node. Rejects as `call` does. */
  async nodes(): Promise<{ call<T>(command: string, args: Argument[]): Promise<T> }[]> {
    const nodes = await this.#within(() => Promise.resolve(this.#primaries()));
    return nodes.map((node) => ({
      call: async <T>(command: string, args: Argument[]) =>
        (await this.#within(() => node.callBuffer(command, args))) as T,
    }));
  }

  problem(): string | null {
    return this.#noAnswer ?? this.#noWrites;
  }

  async close(): Promise<void> {
    this.#closing = true;
    // In order, so that what was sent is still carried out; and at once where nobody answers.
    if (this.#client.status === 'ready') await this.#within(() => this.#client.quit()).catch(() => undefined);
    this.#client.disconnect();
  }

  #primaries(): Redis[] {
    return this.#client instanceof Cluster ? this.#client.nodes('master') : [this.#client];
  }

  async #within<T>(work: () => Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new NoAnswerError()), answerWithinMs);
    });
    try {
      const answer = await Promise.race([this.#connected().then(work), late]);
      this.#answers();
      return answer;
    } catch (error) {
      throw new Error(this.#failed(error as Error), { cause: error });
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * Nothing is handed to the client while it is not connected: a cluster's would keep it, with all its values, and send it
   * when whoever asked has long given up.
   */
  #connected(): Promise<unknown> {
    if (this.#client.status === 'ready') return Promise.resolve();
    // Told by `error`, to which `once` rejects as well.
    if (this.#client.status === 'wait') this.#client.connect().catch(() => undefined);
    this.#connecting ??= once(this.#client, 'ready').finally(() => {
      this.#connecting = undefined;
    });
    return this.#connecting;
  }

  #answers(): void {
    if (this.#noAnswer === null) return;
    this.#noAnswer = null;
    this.#onLog('info', `Redis at ${this.#address} answers again`);
  }

  /** Takes note of what failed, and gives it in words. */
  #failed(error: Error): string {
    const code = codeOf(error);
    // A command that was given up with its connection says less than why the connection broke.
    const follows = error.name === brokenOff || error instanceof NoAnswerError;
    if (follows && this.#noAnswer !== null) return this.#noAnswer;
    const problem = `Redis at ${this.#address} ${inWords(error, code)}`;
    const writesOnly = code !== undefined && writeErrors.has(code);
    const before = writesOnly ? this.#noWrites : this.#noAnswer;
    if (writesOnly) this.#noWrites = problem;
    else this.#noAnswer = problem;
    if (before !== problem && !this.#closing) this.#onLog('error', problem);
    return problem;
  }

  /** States that Redis evicts would be forgotten without a word. */
  async #checkPolicy(): Promise<void> {
    try {
      for (const node of this.#primaries()) {
        const info = await node.info('memory');
        const policy = /^maxmemory_policy:(\S+)/m.exec(info)?.[1] ?? 'noeviction';
        if (policy === 'noeviction' || /^maxmemory:0\s/m.test(info)) continue;
        this.#onLog(
          'warn',
          `Redis at ${this.#address} has maxmemory-policy ${policy}: when it is full it forgets states without ` +
            'a word, and their actors are learnt anew. Set maxmemory-policy to noeviction.',
        );
        return;
      }
    } catch {
      // INFO may be forbidden to us; and a connection that broke is told elsewhere.
    }
  }
}

function open(options: RedisConnectionOptions): { client: Redis | Cluster; address: string } {
  const { url, cluster, username, password, tls } = options;
  if ((url === undefined) === (cluster === undefined))
    throw new Error('Redis needs either a url or the nodes of a cluster, not both.');
  const common = {
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(tls ? { tls } : {}),
    connectTimeout: answerWithinMs,
    // A peer that is gone without a word is left, so that a new connection can be tried.
    socketTimeout: answerWithinMs + 1_000,
    // The error LOADING says more than a connection that never gets ready.
    enableReadyCheck: false,
    autoResendUnfulfilledCommands: false,
  };
  if (cluster) {
    const nodes = cluster.map((node) => hostAndPort(new URL(`redis://${node}`)));
    const client = new Cluster(nodes, {
      lazyConnect: true,
      redisOptions: common,
      // Whoever asks tries again with the newest values: what fails must not be kept and repeated in here for long.
      maxRedirections: 5,
      clusterRetryStrategy: retryAfterMs,
      // Certificates are for names: they must not be replaced by addresses.
      ...(tls ? { dnsLookup: (name: string, found: Found) => found(null, name) } : {}),
    });
    return { client, address: cluster.join(', ') };
  }
  const parsed = new URL(url!);
  const { host, port } = hostAndPort(parsed);
  const db = parsed.pathname.slice(1);
  const client = new Redis({
    ...common,
    ...(parsed.username === '' ? {} : { username: decodeURIComponent(parsed.username) }),
    ...(parsed.password === '' ? {} : { password: decodeURIComponent(parsed.password) }),
    ...(parsed.protocol === 'rediss:' && !tls ? { tls: {} } : {}),
    ...(db === '' ? {} : { db: Number(db) }),
    host,
    port,
    lazyConnect: true,
    maxRetriesPerRequest: 0,
    retryStrategy: retryAfterMs,
    // After a failover the address may lead to another server by now.
    reconnectOnError: (error: Error) => codeOf(error) === 'READONLY',
  });
  return { client, address: parsed.host };
}

type Found = (error: Error | null, address: string) => void;

function retryAfterMs(times: number): number {
  return Math.min(times * 100, retryMostMs);
}

function hostAndPort(url: URL): { host: string; port: number } {
  return { host: url.hostname.replace(/^\[|\]$/g, ''), port: url.port === '' ? 6_379 : Number(url.port) };
}

/** First word of an error that Redis answered with; undefined for anything else. */
function codeOf(error: unknown): string | undefined {
  const { name, message } = error as Error;
  return name === 'ReplyError' ? message.split(' ', 1)[0] : undefined;
}

function inWords(error: Error, code: string | undefined): string {
  switch (code) {
    case 'OOM':
      return 'is full (maxmemory) and takes no writes: raise maxmemory; maxmemory-policy must stay noeviction.';
    case 'READONLY':
      return 'is a read-only replica: the address must lead to the primary, also after a failover.';
    case 'MISCONF':
      return 'cannot save its data to disk and takes no writes: look into its log, and for free space on its disk.';
    case 'NOREPLICAS':
      return 'takes no writes because it has fewer replicas than its min-replicas-to-write: start the missing ones.';
    case 'LOADING':
      return 'has started and still loads its data.';
    case 'MASTERDOWN':
      return 'is a replica without its primary: the address must lead to the primary.';
    case 'WRONGPASS':
      return 'refuses the user name or the password.';
    case 'NOAUTH':
      return 'asks for a password, and none is configured.';
    case 'NOPERM':
      return `does not let this user do what is needed: ${error.message}`;
    case 'CLUSTERDOWN':
      return `is a cluster of which a part is down: ${error.message}`;
    case 'MOVED':
    case 'CROSSSLOT':
      return 'is a node of a Redis Cluster: configure it as a cluster, not by url.';
    case undefined:
      break;
    default:
      return `answers with an error: ${error.message}`;
  }
  const { lastNodeError, errors } = error as { lastNodeError?: Error; errors?: Error[] };
  if (lastNodeError) return inWords(lastNodeError, codeOf(lastNodeError));
  // A name with several addresses: one error each.
  const message = error.message || (errors ?? []).map((one) => one.message).join(', ') || error.name;
  if (error instanceof NoAnswerError) return `gives no answer within ${answerWithinMs / 1_000} s.`;
  if (error.name === brokenOff) return 'cannot be reached: the connection broke before the answer came';
  return `cannot be reached: ${message}`;
}
