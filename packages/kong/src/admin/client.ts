import { rootCertificates } from 'node:tls';
import { Pool } from 'undici';
import { KongDeniedError, KongUnavailableError } from './admin-api.ts';
import type {
  KongClient,
  KongAdminOptions,
  KongConsumer,
  KongNode,
  KongPlugin,
  KongPluginInput,
  WriteOutcome,
} from './admin-api.ts';

/** Plugins per page: Kong's maximum. */
const pageSize = 1_000;
/** An answer beyond this is not read: a page of 1,000 plugins has about 2 MB. */
const maxAnswerBytes = 32 * 1024 * 1024;
/** A list of more pages than this is taken for one that does not end. */
const maxPages = 1_000;

interface Answer {
  status: number;
  /** Undefined if the answer was empty or no JSON. */
  json: unknown;
  /** What Kong said about it, one line, cut short. */
  message: string;
}

/**
 * Client of Kong's Admin API over HTTP(S), with keep-alive. Makes no request by itself. Throws a plain `Error` here if an
 * option is unusable; the calls throw `KongUnavailableError` and `KongDeniedError`, whose texts never hold the token.
 *
 * Method: the answers of Kong Gateway 3.9.3 as recorded (409 unique constraint, 400 code 4 foreign key, 405 in DB-less
 * mode, 415 with HTML), replayed by the Kong stand-in.
 */
export function createKongAdmin(options: KongAdminOptions): KongClient {
  return new AdminApi(options);
}

class AdminApi implements KongClient {
  readonly #options: KongAdminOptions;
  readonly #url: URL;
  readonly #timeoutMs: number;
  /** Of every path, the workspace included. */
  readonly #prefix: string;
  /** The URL as error texts show it. */
  readonly #shown: string;
  readonly #headers: Record<string, string>;
  readonly #pool: Pool;

  constructor(options: KongAdminOptions) {
    const url = checkedUrl(options.url);
    this.#options = options;
    this.#url = url;
    this.#timeoutMs = options.timeoutMs ?? 10_000;
    this.#prefix =
      url.pathname.replace(/\/+$/, '') +
      (options.workspace ? `/${encodeURIComponent(options.workspace)}` : '');
    this.#shown = `${url.origin}${this.#prefix}`;
    this.#headers = {
      accept: 'application/json',
      ...checkedHeaders('kong.adminHeaders', options.headers ?? {}),
      ...checkedHeaders('kong.adminToken', options.token ? { 'kong-admin-token': options.token } : {}),
    };
    this.#pool = createPool(url.origin, options.tls ?? {}, this.#timeoutMs);
  }

  async node(): Promise<KongNode> {
    const info = await this.#read('/');
    const configuration = isRecord(info['configuration']) ? info['configuration'] : undefined;
    if (!configuration || typeof info['version'] !== 'string') {
      throw this.#notTheAdminApi('/', {
        status: 200,
        json: info,
        message: 'JSON without version and configuration',
      });
    }
    const available = isRecord(info['plugins']) ? info['plugins']['available_on_server'] : undefined;
    return {
      version: info['version'],
      database: String(configuration['database']),
      hostname: typeof info['hostname'] === 'string' ? info['hostname'] : '',
      availablePlugins: Array.isArray(available) ? available.map(String) : Object.keys(available ?? {}),
    };
  }

  async plugins(tag?: string): Promise<KongPlugin[]> {
    const rows = await this.#readAll('/plugins', tag === undefined ? {} : { tags: tag });
    return rows.filter(isPlugin);
  }

  async consumer(idOrUsername: string): Promise<KongConsumer | undefined> {
    if (idOrUsername === '') return undefined;
    const path = `/consumers/${encodeURIComponent(idOrUsername)}`;
    const answer = await this.#call('GET', path);
    if (answer.status === 200 && isConsumer(answer.json)) return answer.json;
    if (answer.status !== 404) throw this.#notTheAdminApi(path, answer);
    await this.#assertPathIsRight();
    return undefined;
  }

  putPlugin(id: string, plugin: KongPluginInput): Promise<WriteOutcome> {
    return this.#write('PUT', id, plugin);
  }

  patchPlugin(id: string, change: Partial<KongPluginInput>): Promise<WriteOutcome> {
    return this.#write('PATCH', id, change);
  }

  async deletePlugin(
    id: string,
  ): Promise<{ kind: 'done' } | { kind: 'read-only' | 'refused'; problem: string }> {
    const { status, message } = await this.#call('DELETE', `/plugins/${encodeURIComponent(id)}`);
    if (status === 204 || status === 200) return { kind: 'done' };
    if (status === 405) return { kind: 'read-only', problem: readOnlyProblem(message) };
    if (status === 404) {
      await this.#assertPathIsRight();
      return { kind: 'done' };
    }
    return { kind: 'refused', problem: `Kong does not remove the plugin ${id}: ${status} ${message}` };
  }

  async pluginFields(name: string): Promise<string[] | undefined> {
    let answer: Answer;
    try {
      answer = await this.#call('GET', `/schemas/plugins/${encodeURIComponent(name)}`);
    } catch (error) {
      if (error instanceof KongDeniedError) return undefined;
      throw error;
    }
    const config = fieldsOf(answer.json)?.['config'];
    return answer.status === 200 ? Object.keys(fieldsOf(config) ?? {}) : undefined;
  }

  async close(): Promise<void> {
    await this.#pool.close();
  }

  /** Answers below 500 except 401, 403, 408 and 429; the others are thrown. */
  async #call(method: 'GET' | 'PUT' | 'PATCH' | 'DELETE', path: string, body?: unknown): Promise<Answer> {
    const what = `${method} ${this.#shown}${path.replace(/\?.*/, '')}`;
    let status: number;
    let text: string;
    try {
      const response = await this.#pool.request({
        method,
        path: `${this.#prefix}${path}`,
        headers:
          body === undefined ? this.#headers : { ...this.#headers, 'content-type': 'application/json' },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(this.#timeoutMs),
      });
      status = response.statusCode;
      text = await response.body.text();
    } catch (cause) {
      throw new KongUnavailableError(
        `Kong's Admin API did not answer ${what}: ${inWords(cause, this.#timeoutMs)}`,
        { cause },
      );
    }
    const answer = understood(status, text);
    if (status === 401 || status === 403) {
      const advice = this.#options.token
        ? 'Check that the token (kong.adminToken) is valid and its role may read consumers and write plugins.'
        : 'It wants credentials: set kong.adminToken (Kong-Admin-Token), or kong.adminHeaders for a proxy in front of it.';
      throw new KongDeniedError(
        `Kong's Admin API refused ${what} with ${status}: ${answer.message}. ${advice}`,
      );
    }
    if (status >= 500 || status === 429 || status === 408) {
      throw new KongUnavailableError(
        `Kong's Admin API answered ${what} with ${status}: ${answer.message}. It may or may not have done it; it is safe to repeat.`,
      );
    }
    return answer;
  }

  #notTheAdminApi(path: string, answer: Answer): KongUnavailableError {
    return new KongUnavailableError(
      `GET ${this.#shown}${path} was answered with ${answer.status}: ${answer.message}. Kong's Admin API would answer 200 with JSON: ` +
        `check kong.adminUrl (the Admin API's port is 8001 by default; 8000 is the proxy, 8002 the Manager)` +
        (this.#options.workspace ? ` and that the workspace "${this.#options.workspace}" exists.` : '.'),
    );
  }

  async #read(path: string): Promise<Record<string, unknown>> {
    const answer = await this.#call('GET', path);
    if (answer.status !== 200 || !isRecord(answer.json)) throw this.#notTheAdminApi(path, answer);
    return answer.json;
  }

  async #readAll(path: string, query: Record<string, string>): Promise<unknown[]> {
    const rows: unknown[] = [];
    let offset: string | undefined;
    for (let pages = 0; pages < maxPages; pages += 1) {
      const search = new URLSearchParams({ ...query, size: String(pageSize), ...(offset ? { offset } : {}) });
      const page = await this.#read(`${path}?${search.toString()}`);
      if (!Array.isArray(page['data']))
        throw this.#notTheAdminApi(path, { status: 200, json: page, message: 'no list' });
      for (const row of page['data'] as unknown[]) rows.push(row);
      // `next` is a path of Kong's own view, which a this.#prefix or a proxy may not share: only its offset is taken over.
      const next =
        typeof page['next'] === 'string'
          ? new URL(page['next'], this.#url.origin).searchParams.get('offset')
          : null;
      if (next === null) return rows;
      if (next === offset) break;
      offset = next;
    }
    throw new KongUnavailableError(
      `Kong's Admin API gives a list without end: GET ${this.#shown}${path} has the same or more than ${maxPages} pages.`,
    );
  }

  /** A 404 means "not there" only if the path as such is right; else every block would seem to be gone. */
  async #assertPathIsRight(): Promise<void> {
    await this.#read('/plugins?size=1');
  }

  async #write(method: 'PUT' | 'PATCH', id: string, body: Partial<KongPluginInput>): Promise<WriteOutcome> {
    const answer = await this.#call(method, `/plugins/${encodeURIComponent(id)}`, body);
    const { status, json, message } = answer;
    if ((status === 200 || status === 201) && isPlugin(json)) return { kind: 'done', plugin: json };
    const of = `${body.name ?? 'plugin'} ${id}${body.consumer ? ` for consumer ${body.consumer.id}` : ''}`;
    const refused = (problem: string): WriteOutcome => ({ kind: 'refused', problem });
    if (status === 409) {
      return {
        kind: 'conflict',
        problem: `Kong already has another plugin in the place of ${of}: ${message}`,
      };
    }
    if (status === 405) return { kind: 'read-only', problem: readOnlyProblem(message) };
    const fields = isRecord(json) && isRecord(json['fields']) ? json['fields'] : {};
    if (status === 400 && isRecord(json) && json['code'] === 4 && 'consumer' in fields) {
      return {
        kind: 'no-consumer',
        problem: `Kong has no consumer ${body.consumer?.id ?? ''} (any more): ${message}`,
      };
    }
    const goneScope = (['route', 'service'] as const).find((field) => body[field] && field in fields);
    if (status === 400 && isRecord(json) && json['code'] === 4 && goneScope) {
      // Kong deleted its plugins with it: the desired ones are computed again.
      throw new KongUnavailableError(
        `Kong has no ${goneScope} ${body[goneScope]?.id ?? ''} (any more) for the ${of}: ${message}. Its plugins are read again.`,
      );
    }
    if (status === 404) {
      await this.#assertPathIsRight();
      if (body.consumer)
        return { kind: 'no-consumer', problem: `Kong has no consumer ${body.consumer.id} (any more).` };
      return refused(`Kong has no plugin ${id} (any more).`);
    }
    return refused(`Kong does not take the ${of}: ${status} ${message}`);
  }
}

function createPool(origin: string, tls: NonNullable<KongAdminOptions['tls']>, timeoutMs: number): Pool {
  const { ca, cert, key, serverName, insecure } = tls;
  return new Pool(origin, {
    connections: 4,
    keepAliveTimeout: 30_000,
    headersTimeout: timeoutMs,
    bodyTimeout: timeoutMs,
    maxResponseSize: maxAnswerBytes,
    connect: {
      timeout: timeoutMs,
      ...(ca ? { ca: [...rootCertificates, ca] } : {}),
      ...(cert ? { cert } : {}),
      ...(key ? { key } : {}),
      ...(serverName ? { servername: serverName } : {}),
      ...(insecure ? { rejectUnauthorized: false } : {}),
    },
  });
}

const readOnlyProblem = (message: string): string =>
  `This Kong cannot be changed through its Admin API (${message}). It runs without a database (DB-less) or as a data ` +
  `plane: plugins must come from its declarative configuration or its control plane.`;

function checkedUrl(text: string): URL {
  const wrong = (why: string): Error =>
    new Error(
      `kong.adminUrl: ${why}. Allowed: http://host:port or https://host:port, with a path prefix if need be.`,
    );
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw wrong(`"${text}" is not a URL`);
  }
  if (url.username || url.password) {
    throw wrong(
      'it holds a user name or password; put them into kong.adminHeaders as an Authorization header',
    );
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    throw wrong(`"${url.protocol}" is not supported`);
  if (url.search || url.hash) throw wrong('it has a query or a fragment');
  return url;
}

function checkedHeaders(setting: string, headers: Record<string, string>): Record<string, string> {
  for (const [name, value] of Object.entries(headers)) {
    if (!/^[\w!#$%&'*+.^`|~-]+$/.test(name)) throw new Error(`${setting}: "${name}" is no name of a header.`);
    // The value may be a secret: not shown.
    if (!/^[\t\x20-\x7e]*$/.test(value)) {
      throw new Error(
        `${setting}: the value of ${name} has characters that a header cannot carry (a line break?).`,
      );
    }
  }
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
}

function understood(status: number, text: string): Answer {
  if (text === '') return { status, json: undefined, message: 'an empty answer' };
  try {
    const json: unknown = JSON.parse(text);
    const message = isRecord(json) && typeof json['message'] === 'string' ? json['message'] : text;
    return { status, json, message: oneLine(message) };
  } catch {
    const title = /<title>([^<]*)<\/title>/i.exec(text)?.[1];
    const what = /^\s*</.test(text) ? 'HTML' : 'text';
    return {
      status,
      json: undefined,
      message: `${what} instead of JSON (${oneLine(title ?? text).slice(0, 100)})`,
    };
  }
}

/** Kong's words come from outside: one line without control characters, at most 300 characters. */
const oneLine = (text: string): string =>
  text
    // eslint-disable-next-line no-control-regex -- that is the purpose
    .replace(/[\u0000-\u001f\u007f\s]+/g, ' ')
    .trim()
    .slice(0, 300);

/** The cause of a failed request, with what to do about it. */
function inWords(cause: unknown, timeoutMs: number): string {
  const { code = '', name = '', message = '' } = innermost(cause);
  const known: Record<string, string> = {
    ECONNREFUSED:
      'connection refused. Is Kong running, and does its admin_listen include this address and port?',
    ENOTFOUND: 'the host name is not known. Check kong.adminUrl.',
    EAI_AGAIN: 'the host name could not be looked up (DNS does not answer).',
    ECONNRESET: 'the connection was reset.',
    EPIPE: 'the connection was closed.',
    UND_ERR_SOCKET: 'the connection was closed before the answer was complete.',
    EHOSTUNREACH: 'no route to the host.',
    ENETUNREACH: 'the network is not reachable.',
    UND_ERR_RES_EXCEEDED_MAX_SIZE: `the answer is larger than ${maxAnswerBytes / 1024 / 1024} MB.`,
    DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is self-signed. Give it as kong.tls.caFile.',
    SELF_SIGNED_CERT_IN_CHAIN:
      'its certificate is signed by an unknown authority. Give that as kong.tls.caFile.',
    UNABLE_TO_VERIFY_LEAF_SIGNATURE:
      'its certificate is signed by an unknown authority. Give that as kong.tls.caFile.',
    UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
      'its certificate is signed by an unknown authority. Give that as kong.tls.caFile.',
    CERT_HAS_EXPIRED: 'its certificate has expired.',
    ERR_TLS_CERT_ALTNAME_INVALID:
      'its certificate is for another name. Set kong.tls.serverName to a name in the certificate.',
    ERR_SSL_WRONG_VERSION_NUMBER:
      'it does not speak TLS on this port. Use http:// or the port of admin_listen with ssl.',
    ERR_SSL_PACKET_LENGTH_TOO_LONG:
      'it does not speak TLS on this port. Use http:// or the port of admin_listen with ssl.',
  };
  if (name === 'TimeoutError' || /TIMEOUT|ETIMEDOUT/.test(code)) return `no answer within ${timeoutMs} ms.`;
  if (code.startsWith('HPE_'))
    return 'it does not speak HTTP on this port (HTTPS instead?). Check kong.adminUrl.';
  return known[code] ?? `${oneLine(message)}${code ? ` (${code})` : ''}`;
}

function innermost(cause: unknown): { code?: string; name?: string; message?: string } {
  let error = cause as {
    code?: unknown;
    name?: string;
    message?: string;
    cause?: unknown;
    errors?: unknown[];
  };
  // Node wraps the attempts on several addresses of a host into one error.
  while (error.errors?.[0] ?? error.cause) error = (error.errors?.[0] ?? error.cause) as typeof error;
  return {
    ...(typeof error.code === 'string' ? { code: error.code } : {}),
    ...(error.name === undefined ? {} : { name: error.name }),
    ...(error.message === undefined ? {} : { message: error.message }),
  };
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** The fields of a schema, which Kong gives as a list of objects with one member each. */
function fieldsOf(schema: unknown): Record<string, unknown> | undefined {
  const fields = isRecord(schema) ? schema['fields'] : undefined;
  return Array.isArray(fields)
    ? Object.fromEntries(fields.filter(isRecord).flatMap((field) => Object.entries(field)))
    : undefined;
}

const isPlugin = (value: unknown): value is KongPlugin =>
  isRecord(value) &&
  typeof value['id'] === 'string' &&
  typeof value['name'] === 'string' &&
  isRecord(value['config']);

const isConsumer = (value: unknown): value is KongConsumer =>
  isRecord(value) && typeof value['id'] === 'string';
