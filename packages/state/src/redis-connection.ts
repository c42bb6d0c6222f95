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
  /** Called when Redis stops working for this process, and when it works again. */
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

/** A command without an answer after so long fails, so that its caller can report it and try again. */
const answerWithinMs = 5_000;
const maxRetryMs = 2_000;

/** Name of the client's error for commands whose connection broke before the answer came. */
const connectionBroke = 'MaxRetriesPerRequestError';

class NoAnswerError extends Error {}

/** Codes of errors that concern writes only: reading may go on. */
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
  /** Why no command works, and why no write works, in words; null if they do. */
  #noAnswer: string | null = null;
  #noWrites: string | null = null;
  #closing = false;
  /** Shared by all commands that wait for the connection. */
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

  /** Sends a command; strings of the answer are Buffers. Rejects with an error that says in words what is wrong with Redis. */
  async call<T>(command: string, args: Argument[]): Promise<T> {
    return (await this.#within(() => this.#client.callBuffer(command, args))) as T;
  }

  /** Runs a script that writes; all keys must belong to one hash slot. Rejects as `call` does. */
  async run<T>(script: Script, keys: readonly string[], args: readonly Argument[]): Promise<T> {
    const rest: Argument[] = [keys.length, ...keys, ...args];
    return (await this.#within(async () => {
      try {
        return await this.#client.callBuffer('EVALSHA', [script.sha, ...rest]);
      } catch (error) {
        // Redis forgets scripts when it restarts.
        if (codeOf(error) !== 'NOSCRIPT') throw error;
        return this.#client.callBuffer('EVAL', [script.lua, ...rest]);
      }
    })) as T;
  }

  /** To be called when a script has written something; scripts that only read succeed on a full Redis too. */
  wrote(): void {
    if (this.#noWrites === null) return;
    this.#noWrites = null;
    this.#onLog('info', `Redis at ${this.#address} takes writes again`);
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
    // QUIT is carried out after all commands that were sent. Where Redis does not answer, the connection ends at once.
    if (this.#client.status === 'ready') await this.#within(() => this.#client.quit()).catch(() => undefined);
    this.#client.disconnect();
  }

  #primaries(): Redis[] {
    return this.#client instanceof Cluster ? this.#client.nodes('master') : [this.#client];
  }

  async #within<T>(work: () => Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    let over = false;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        over = true;
        reject(new NoAnswerError());
      }, answerWithinMs);
    });
    const done = this.#connected().then(() => (over ? late : work()));
    try {
      const answer = await Promise.race([done, late]);
      this.#answers();
      return answer;
    } catch (error) {
      // Without its cause: the client's errors carry what was sent, all values or a password.
      // eslint-disable-next-line preserve-caught-error
      throw new Error(this.#failed(error as Error));
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * Resolves once the client is connected. Before that it gets no commands: a cluster's client would keep them, with all their
   * values, and send them long after their callers gave up.
   */
  #connected(): Promise<unknown> {
    if (this.#client.status === 'ready') return Promise.resolve();
    // A failure is also the event `error`, with which `once` rejects.
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

  /** Remembers and logs a failure; returns it in words. */
  #failed(error: Error): string {
    const code = codeOf(error);
    // A command that was given up with its connection says less than why the connection broke.
    const follows = error.name === connectionBroke || error instanceof NoAnswerError;
    if (follows && this.#noAnswer !== null) return this.#noAnswer;
    const problem = `Redis at ${this.#address} ${inWords(error, code)}`;
    const writesOnly = code !== undefined && writeErrors.has(code);
    const before = writesOnly ? this.#noWrites : this.#noAnswer;
    if (writesOnly) this.#noWrites = problem;
    else this.#noAnswer = problem;
    if (before !== problem && !this.#closing) this.#onLog('error', problem);
    return problem;
  }

  /** Warns of a Redis that may evict states: they would be forgotten silently. */
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
      // INFO may be forbidden; a connection that broke is reported by the command that needed it.
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
    // A peer that vanished is given up, so that a new connection can be tried.
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
      // Callers try again with the newest values, so the client must not repeat old ones for long.
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
  return Math.min(times * 100, maxRetryMs);
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
  if (error.name === connectionBroke) return 'cannot be reached: the connection broke before the answer came';
  return `cannot be reached: ${message}`;
}
