import { FieldTable, type Member } from './field-table.ts';
import type { LineBytes } from './frames.ts';
import { JsonCursor, LogLineError, openBrace, openBracket } from './json-cursor.ts';
import { emptyEntity, KnownEntities, type Entity } from './known-entities.ts';
import { emptyLine, noParameters, type KongLogLine } from './log-line.ts';

export interface ReaderOptions {
  /** Deepest nesting of objects and arrays that is followed. */
  maxDepth: number;
  /** Lower-case names of the request headers to read. */
  headerNames: readonly string[];
}

/**
 * Makes the function that reads the fields of one log line that Tripline needs, in one pass over its bytes. `JSON.parse` would
 * build every object of a line of about 2 kB, most of them the service and route entities. This reader checks that the same text
 * is well-formed, and makes values only of the fields in `lineFields`. A property test holds it against `JSON.parse`.
 *
 * Of a line it remembers the text of its entities and names of members. Throws `LogLineError`. Invalid UTF-8 is read as U+FFFD.
 */
export function createLogLineReader(options: ReaderOptions): (line: LineBytes) => KongLogLine {
  const cursor = new JsonCursor(options.maxDepth);
  /** Of every line without any of the wanted headers. */
  const noHeaders = options.headerNames.map(() => undefined);
  const fields = lineFields(options.headerNames, noHeaders);

  return (input) => {
    cursor.enter(input);
    if (cursor.skipSpace() !== openBrace) refuse(cursor);
    const line = emptyLine(noHeaders);
    cursor.readObject(fields, line, 1);
    cursor.skipSpace();
    if (cursor.at !== cursor.end) cursor.fail('something behind the object');
    return line;
  };
}

function refuse(cursor: JsonCursor): never {
  cursor.skipValue(0);
  cursor.skipSpace();
  if (cursor.at === cursor.end) throw new LogLineError('not-a-log-line', 'JSON, but not an object');
  return cursor.fail('something behind the value');
}

type LineMember = Member<KongLogLine, JsonCursor>;

/** The members of a log line that are read, as Kong nests them. */
function lineFields(
  headerNames: readonly string[],
  noHeaders: readonly unknown[],
): FieldTable<KongLogLine, JsonCursor> {
  const request = object({
    headers: object(
      Object.fromEntries(headerNames.map((name, index) => [name, requestHeader(index, noHeaders)])),
    ),
    querystring: parameters,
    uri: value((line, uri) => (line.uri = uri)),
    method: value((line, method) => (line.method = method)),
    size: value((line, size) => (line.requestSize = size)),
    id: value((line, id) => (line.requestId = id)),
  });
  const response = object({
    headers: object({
      'www-authenticate': value((line, challenge) => (line.wwwAuthenticate = challenge)),
      'content-length': value((line, length) => (line.contentLength = length)),
      'content-type': value((line, type) => (line.answerType = type)),
      location: value((line, location) => (line.location = location)),
      'grpc-status': value((line, status) => (line.grpcStatus = status)),
    }),
    status: value((line, status) => (line.status = status)),
    size: value((line, size) => (line.responseSize = size)),
  });
  return new FieldTable<KongLogLine, JsonCursor>({
    request: noted((line) => (line.hasRequest = true), request),
    response: noted((line) => (line.hasResponse = true), response),
    session: noted((line, isObject) => (line.hasSession = isObject), object({})),
    latencies: object({
      request: value((line, latency) => (line.latencyRequest = latency)),
      proxy: value((line, latency) => (line.latencyProxy = latency)),
    }),
    consumer: object({
      id: value((line, id) => (line.consumerId = id)),
      username: value((line, username) => (line.consumerUsername = username)),
      custom_id: value((line, customId) => (line.consumerCustomId = customId)),
      tags: value((line, tags) => (line.consumerTags = tags)),
    }),
    authenticated_entity: object({
      id: value((line, id) => (line.authenticatedEntityId = id)),
    }),
    service: entity((line, { id, name }) => {
      line.serviceId = id;
      line.serviceName = name;
    }),
    route: entity((line, { id, name, match }) => {
      line.routeId = id;
      line.routeName = name;
      line.routePaths = match.paths;
      line.routeMatch = match;
    }),
    tripline: object({
      token: value((line, token) => (line.token = token)),
      credential: value((line, credential) => (line.credential = credential)),
      user: value((line, user) => (line.user = user)),
      claim: value((line, claim) => (line.claim = claim)),
    }),
    started_at: value((line, startedAt) => (line.startedAt = startedAt)),
    client_ip: value((line, ip) => (line.clientIp = ip)),
    upstream_status: value((line, status) => (line.upstreamStatus = status)),
    source: value((line, source) => (line.source = source)),
    workspace_name: value((line, workspace) => (line.workspaceName = workspace)),
    tries: list(object({})),
  });
}

/** A member whose value becomes a field of the line. */
function value(set: (line: KongLogLine, value: unknown) => void): LineMember {
  return { set };
}

/** A member that is an object; anything else in its place is skipped, as if it were empty. */
function object<Target>(
  members: Record<string, Member<Target, JsonCursor>>,
): Member<Target, JsonCursor> & { set?: undefined } {
  const fields = new FieldTable(members);
  return {
    read: (cursor, target, depth) => {
      if (cursor.bytes[cursor.at] === openBrace) cursor.readObject(fields, target, depth + 1);
      else cursor.skipValue(depth);
    },
  };
}

/** A member that is a list of `items`; anything else in its place is skipped. */
function list(items: LineMember & { set?: undefined }): LineMember {
  return {
    read: (cursor, line, depth) => {
      if (cursor.bytes[cursor.at] !== openBracket) cursor.skipValue(depth);
      else if (cursor.enterArray(depth + 1))
        do items.read(cursor, line, depth + 1);
        while (cursor.hasNextItem());
    },
  };
}

/** A member of which it is noted that the line has it. */
function noted(
  note: (line: KongLogLine, isObject: boolean) => void,
  member: LineMember & { set?: undefined },
): LineMember {
  return {
    read: (cursor, line, depth) => {
      note(line, cursor.bytes[cursor.at] === openBrace);
      member.read(cursor, line, depth);
    },
  };
}

function requestHeader(index: number, noHeaders: readonly unknown[]): LineMember {
  return {
    set: (line, header) => {
      if (line.requestHeaders === noHeaders) line.requestHeaders = noHeaders.slice();
      (line.requestHeaders as unknown[])[index] = header;
    },
  };
}

/** Parameters have any names, which are not remembered. */
const parameters: LineMember = {
  read: (cursor, line, depth) => {
    if (cursor.bytes[cursor.at] !== openBrace) cursor.skipValue(depth);
    else if (cursor.enterObject(depth + 1)) {
      const found = line.querystring === noParameters ? new Map<string, unknown>() : line.querystring;
      line.querystring = found;
      do {
        const name = cursor.readString();
        cursor.skipColon();
        found.set(name, cursor.readValue(depth + 1));
      } while (cursor.hasNextMember());
    }
  },
};

/** The service or route entity. One of an earlier line is not read again. */
function entity(set: (line: KongLogLine, entity: Entity) => void): LineMember {
  const known = new KnownEntities();
  return {
    read: (cursor, line, depth) => {
      const begin = cursor.at;
      const found = known.find(cursor.bytes, cursor.view, begin, cursor.end);
      if (found) cursor.at = begin + found.bytes.length;
      const read = found?.entity ?? emptyEntity();
      if (!found) {
        if (cursor.bytes[begin] === openBrace) {
          cursor.readObject(entityFields, read, depth + 1);
          known.add(read, cursor.bytes, begin, cursor.at);
        } else cursor.skipValue(depth);
      }
      set(line, read);
    },
  };
}

const entityFields = new FieldTable<Entity, JsonCursor>({
  id: { set: (entity, id) => (entity.id = copied(id)) },
  name: { set: (entity, name) => (entity.name = copied(name)) },
  paths: { set: ({ match }, paths) => (match.paths = copied(paths)) },
  hosts: { set: ({ match }, hosts) => (match.hosts = copied(hosts)) },
  methods: { set: ({ match }, methods) => (match.methods = copied(methods)) },
  headers: { set: ({ match }, headers) => (match.headers = copied(headers)) },
  snis: { set: ({ match }, snis) => (match.snis = copied(snis)) },
});

/** The same strings without the line in memory that they were cut out of: joined and cut again they are of their own. */
function copied(value: unknown): unknown {
  if (typeof value === 'string') return ` ${value}`.slice(1);
  return Array.isArray(value) ? value.map(copied) : value;
}
