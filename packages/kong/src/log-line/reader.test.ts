import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { lineOf } from './frames.ts';
import { LogLineError } from './json-cursor.ts';
import type { KongLogLine } from './log-line.ts';
import { createLogLineReader } from './reader.ts';

const headerNames = ['host', 'user-agent', 'apikey', 'cookie', 'x-case'];
const reader = createLogLineReader({ maxDepth: 32, headerNames });
const read = (line: Buffer): KongLogLine => reader(lineOf(line));

/** The same picture of a line, made with JSON.parse. */
function byParse(text: string): KongLogLine {
  type Any = Record<string, unknown> | undefined;
  const line = JSON.parse(text) as Record<string, unknown>;
  const object = (value: unknown): Any =>
    typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Any) : undefined;
  const simple = (value: unknown): unknown =>
    Array.isArray(value) ? value.map(simple) : typeof value === 'object' && value !== null ? {} : value;
  const request = object(line.request);
  const response = object(line.response);
  const map = (value: unknown): Map<string, unknown> =>
    new Map(Object.entries(object(value) ?? {}).map(([name, one]) => [name, simple(one)]));
  const own = (value: Any, name: string): unknown =>
    value && Object.hasOwn(value, name) ? value[name] : undefined;
  const match = (route: Any): KongLogLine['routeMatch'] => ({
    paths: simple(route?.paths),
    hosts: simple(route?.hosts),
    methods: simple(route?.methods),
    headers: simple(route?.headers),
    snis: simple(route?.snis),
  });
  return {
    startedAt: simple(line.started_at),
    clientIp: simple(line.client_ip),
    upstreamStatus: simple(line.upstream_status),
    source: simple(line.source),
    workspaceName: simple(line.workspace_name),
    requestId: simple(request?.id),
    method: simple(request?.method),
    uri: simple(request?.uri),
    requestSize: simple(request?.size),
    requestHeaders: headerNames.map((name) => simple(own(object(request?.headers), name))),
    querystring: map(request?.querystring),
    status: simple(response?.status),
    responseSize: simple(response?.size),
    wwwAuthenticate: simple(object(response?.headers)?.['www-authenticate']),
    contentLength: simple(object(response?.headers)?.['content-length']),
    answerType: simple(object(response?.headers)?.['content-type']),
    location: simple(object(response?.headers)?.location),
    grpcStatus: simple(object(response?.headers)?.['grpc-status']),
    latencyRequest: simple(object(line.latencies)?.request),
    latencyProxy: simple(object(line.latencies)?.proxy),
    consumerId: simple(object(line.consumer)?.id),
    consumerUsername: simple(object(line.consumer)?.username),
    consumerCustomId: simple(object(line.consumer)?.custom_id),
    consumerTags: simple(object(line.consumer)?.tags),
    authenticatedEntityId: simple(object(line.authenticated_entity)?.id),
    serviceId: simple(object(line.service)?.id),
    serviceName: simple(object(line.service)?.name),
    routeId: simple(object(line.route)?.id),
    routeName: simple(object(line.route)?.name),
    routePaths: simple(object(line.route)?.paths),
    routeMatch: Object.hasOwn(line, 'route') ? match(object(line.route)) : undefined,
    token: simple(object(line.tripline)?.token),
    credential: simple(object(line.tripline)?.credential),
    user: simple(object(line.tripline)?.user),
    claim: simple(object(line.tripline)?.claim),
    hasRequest: Object.hasOwn(line, 'request'),
    hasResponse: Object.hasOwn(line, 'response'),
    hasSession: object(line.session) !== undefined,
  };
}

function reasonOf(text: string | Buffer): string {
  try {
    read(Buffer.from(text as string));
    return 'accepted';
  } catch (error) {
    if (error instanceof LogLineError) return error.reason;
    throw error;
  }
}

const fixtures = fileURLToPath(new URL('../../../../test/fixtures/tcp-log/', import.meta.url));
const recorded = readdirSync(fixtures)
  .filter((name) => name.endsWith('.ndjson'))
  .flatMap((name) => readFileSync(`${fixtures}${name}`).toString('latin1').split('\n').slice(0, -1))
  .map((line) => Buffer.from(`${line}\n`, 'latin1'));

describe('the log line reader', () => {
  it('reads every recorded line as JSON.parse does, those with invalid UTF-8 too', () => {
    expect(recorded.length).toBeGreaterThan(1_500);
    for (const line of recorded) expect(read(line)).toEqual(byParse(line.toString('utf8')));
  });

  it('reads the same lines the same when their entities were seen before', () => {
    for (const line of recorded.slice(0, 200)) {
      read(line);
      expect(read(line)).toEqual(byParse(line.toString('utf8')));
    }
  });

  it('reads any JSON object as JSON.parse does, however it is spaced', () => {
    const names = fc.constantFrom(
      'request', 'response', 'headers', 'querystring', 'uri', 'method', 'id', 'name', 'status', 'size', 'consumer',
      'username', 'tags', 'service', 'route', 'tripline', 'token', 'latencies', 'proxy', 'host', 'apikey',
      'started_at', 'client_ip', '__proto__x', 'a"b', 'ü', 'www-authenticate', 'authenticated_entity',
    ); // prettier-ignore
    const { value } = fc.letrec<{ value: unknown }>((tie) => ({
      value: fc.oneof(
        { depthSize: 'small' },
        fc.string({ unit: 'grapheme' }),
        fc.string({ unit: fc.constantFrom('"', '\\', 'a', '\n', '\u0000', '😀', '\ud800', '/') }),
        fc.double({ noNaN: true, noDefaultInfinity: true }),
        fc.integer(),
        fc.constantFrom(true, false, null),
        fc.array(tie('value'), { maxLength: 3 }),
        fc.dictionary(names, tie('value'), { maxKeys: 6, noNullPrototype: true }),
      ),
    }));
    fc.assert(
      fc.property(
        fc.dictionary(names, value, { maxKeys: 8, noNullPrototype: true }),
        fc.constantFrom(0, 1, '\t'),
        (line, indent) => {
          const text = JSON.stringify(line, null, indent);
          // Lone surrogates do not survive as UTF-8 bytes: compare what arrives.
          const bytes = Buffer.from(text);
          expect(read(bytes)).toEqual(byParse(bytes.toString('utf8')));
        },
      ),
      { numRuns: 2_000 },
    );
  });

  it('accepts nothing that JSON.parse refuses, wherever a line is cut or a byte is changed', () => {
    const line = recorded[0]!.toString('utf8').trimEnd();
    const refusedBoth = (text: string): void => {
      let parses = true;
      try {
        JSON.parse(text);
      } catch {
        parses = false;
      }
      // A changed service or route entity reads like any other.
      expect({ text, accepted: reasonOf(text) === 'accepted' }).toEqual({ text, accepted: parses });
    };
    for (let length = 0; length < line.length; length += 3) refusedBoth(line.slice(0, length));
    fc.assert(
      fc.property(
        fc.nat(line.length - 1),
        fc.constantFrom('"', '{', '}', '[', ']', ',', ':', 'x', '0', '-', ' ', '\u0001'),
        (at, char) => {
          refusedBoth(line.slice(0, at) + char + line.slice(at + 1));
        },
      ),
      { numRuns: 2_000 },
    );
  });

  it('refuses what is no JSON object, each for its reason', () => {
    expect(reasonOf('')).toBe('not-json');
    expect(reasonOf('[]')).toBe('not-a-log-line');
    expect(reasonOf('"text"')).toBe('not-a-log-line');
    expect(reasonOf('17')).toBe('not-a-log-line');
    expect(reasonOf('{"a":1} {"b":2}')).toBe('not-json');
    expect(reasonOf('{"a":1e400}')).toBe('accepted');
    expect(reasonOf('{"a":"\\u0000"}')).toBe('accepted');
    expect(reasonOf(Buffer.from([123, 34, 97, 34, 58, 34, 0, 34, 125]))).toBe('not-json');
    expect(reasonOf('\ufeff{"a":1}')).toBe('accepted');
  });

  it('refuses deep nesting without deep recursion, and reads the next line as ever', () => {
    expect(reasonOf(`{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}`)).toBe('too-deep');
    expect(reasonOf(`{"a":${'{"b":'.repeat(10_000)}1${'}'.repeat(10_000)}}`)).toBe('too-deep');
    expect(read(recorded[0]!)).toEqual(byParse(recorded[0]!.toString('utf8')));
  });

  it('takes the last of duplicate members and keeps names such as __proto__ as they are', () => {
    const line = read(
      Buffer.from(
        '{"request":{"uri":"/a","uri":"/b","querystring":{"__proto__":"x","constructor":["y",true]}}}',
      ),
    );
    expect(line.uri).toBe('/b');
    expect([...line.querystring]).toEqual([
      ['__proto__', 'x'],
      ['constructor', ['y', true]],
    ]);
  });
});
