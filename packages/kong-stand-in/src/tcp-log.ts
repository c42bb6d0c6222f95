import { createHmac } from 'node:crypto';
import * as net from 'node:net';
import * as tls from 'node:tls';

/** The part of the plugin's configuration that sending needs. */
export interface TcpLogConfig {
  host: string;
  port: number;
  /** Longest time to connect, in ms. */
  timeout: number;
  /** How long a connection may be idle before Kong closes it, in ms. */
  keepalive: number;
  tls: boolean;
  tls_sni: string | null;
  custom_fields_by_lua: Record<string, string> | null;
}

export interface SendCounters {
  sent: number;
  /** Lines that were dropped because the collector could not be reached or the connection broke; Kong never retries. */
  failed: number;
  connectionsOpened: number;
}

/** Most lines that wait for one connection attempt: nginx' `lua_max_pending_timers`. */
const maxWaitingLines = 16_384;

/**
 * Sends lines as Kong's workers do: each worker keeps one connection per destination and reuses it, one line is one
 * write, and what cannot be sent is dropped and counted. The workers take turns.
 */
export class TcpLogSender {
  readonly counters: SendCounters = { sent: 0, failed: 0, connectionsOpened: 0 };
  readonly #workers: Map<string, Connection>[];
  #turn = 0;
  #pending = 0;
  #idle: (() => void)[] = [];

  constructor(workers: number) {
    this.#workers = Array.from({ length: workers }, () => new Map<string, Connection>());
  }

  /** Sends one line, given without the line feed. */
  send(config: TcpLogConfig, line: string): void {
    const worker = this.#workers[this.#turn++ % this.#workers.length]!;
    const key = JSON.stringify([config.host, config.port, config.tls, config.tls_sni]);
    let connection = worker.get(key);
    if (!connection) {
      connection = new Connection(config, () => worker.delete(key));
      worker.set(key, connection);
      this.counters.connectionsOpened += 1;
    }
    this.#pending += 1;
    connection.write(`${line}\n`, (sent) => {
      if (sent) this.counters.sent += 1;
      else this.counters.failed += 1;
      this.#pending -= 1;
      if (this.#pending === 0) for (const tell of this.#idle.splice(0)) tell();
    });
  }

  /** Resolves when every line so far was sent or dropped. */
  flushed(): Promise<void> {
    return this.#pending === 0 ? Promise.resolve() : new Promise((resolve) => this.#idle.push(resolve));
  }

  close(): void {
    for (const worker of this.#workers) for (const connection of [...worker.values()]) connection.close();
  }
}

class Connection {
  readonly #socket: net.Socket;
  readonly #gone: () => void;
  #open = false;
  #closed = false;
  /** Lines that wait for the connection, each with the callback for its outcome. */
  #waiting: { line: string; done: (sent: boolean) => void }[] = [];

  constructor(config: TcpLogConfig, gone: () => void) {
    this.#gone = gone;
    const { host, port } = config;
    // Kong does not verify the collector's certificate.
    this.#socket = config.tls
      ? tls.connect({
          host,
          port,
          rejectUnauthorized: false,
          ...(config.tls_sni ? { servername: config.tls_sni } : {}),
        })
      : net.connect({ host, port });
    this.#socket.setNoDelay(true);
    this.#socket.setTimeout(config.timeout, () => this.close());
    this.#socket.on(config.tls ? 'secureConnect' : 'connect', () => {
      this.#open = true;
      this.#socket.setTimeout(config.keepalive);
      for (const { line, done } of this.#waiting.splice(0)) this.#send(line, done);
    });
    this.#socket.on('error', () => this.close());
    this.#socket.on('end', () => this.close());
    this.#socket.on('close', () => this.close());
    this.#socket.resume();
    this.#socket.unref();
  }

  write(line: string, done: (sent: boolean) => void): void {
    if (this.#open) this.#send(line, done);
    else if (this.#waiting.length < maxWaitingLines) this.#waiting.push({ line, done });
    else done(false);
  }

  #send(line: string, done: (sent: boolean) => void): void {
    this.#socket.write(line, (problem) => done(!problem));
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#gone();
    for (const { done } of this.#waiting.splice(0)) done(false);
    if (this.#open) this.#socket.end();
    else this.#socket.destroy();
  }
}

const hmac = (key: string, text: string): string =>
  createHmac('sha1', key).update(text, 'latin1').digest('base64');

/**
 * What `custom_fields_by_lua` adds to a line, for the three expressions that Tripline installs (see
 * `packages/kong/src/connect`): a literal, and HMAC-SHA1 of the Authorization header and of the basic-auth user in it,
 * in `pcall` or as they are. Any other expression adds nothing. A dot in the name nests.
 */
export function customFields(
  expressions: Record<string, string> | null,
  authorization: string | undefined,
): Record<string, unknown> {
  const fields: Record<string, unknown> = {};
  for (const [name, lua] of Object.entries(expressions ?? {})) {
    const value = evaluate(lua.replace(/\s+/g, ' ').trim(), authorization);
    if (value === undefined) continue;
    const path = name.split('.');
    const last = path.pop()!;
    let at = fields;
    for (const key of path) at = (at[key] ??= {}) as Record<string, unknown>;
    at[last] = value;
  }
  return fields;
}

function evaluate(guarded: string, authorization: string | undefined): string | undefined {
  const lua =
    /^local ok, v = pcall\(function\(\) (.*) end\); if ok then return v end$/.exec(guarded)?.[1] ?? guarded;
  const literal = /^return '([^'\\]*)'$/.exec(lua);
  if (literal) return literal[1];
  const key = /ngx\.hmac_sha1\('([^'\\]*)', ([hu])\)\) end$/.exec(lua);
  if (!key || !lua.startsWith("local h = kong.request.get_header('authorization');") || !authorization)
    return undefined;
  if (key[2] === 'h') return hmac(key[1]!, authorization);
  const encoded = /^[Bb]asic\s+(.+)$/.exec(authorization)?.[1];
  const user = encoded && /^([^:]*):/.exec(Buffer.from(encoded, 'base64').toString('latin1'))?.[1];
  return user === undefined || encoded === undefined ? undefined : hmac(key[1]!, user);
}
