import { collections, enabledPlugins, entityKinds, invalidName, pluginKinds } from '../entities.ts';
import type { Collection } from '../entities.ts';
import { isRecord, isUuid } from '../schema.ts';
import type { Values } from '../schema.ts';
import { AdminProblem } from '../store.ts';
import type { Entity, Store } from '../store.ts';

export interface AdminRequest {
  method: string;
  /** Path with query, still percent-encoded. */
  target: string;
  /** Lower-case names. */
  headers: Record<string, string | undefined>;
  body: string;
}

export interface AdminAnswer {
  status: number;
  /** Headers besides those that every answer carries. */
  headers: Record<string, string>;
  body: string;
}

export interface AdminSettings {
  /** Entities by workspace; `default` is the one without a prefix. */
  workspaces: Map<string, Store>;
  /** Whether `/{workspace}/…` is understood (Enterprise). */
  prefixes: boolean;
  dbless: boolean;
  rbacToken: string | undefined;
  hostname: string;
  version: string;
}

type Handler = (call: Call) => unknown;
interface Call {
  store: Store;
  settings: AdminSettings;
  method: string;
  path: string;
  query: URLSearchParams;
  params: string[];
  body: () => Values;
  fromForm: boolean;
}
type Methods = Partial<Record<'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE', Handler>>;

/** A handler's answer with another status than 200. */
class Answer {
  readonly status: number;
  readonly body: unknown;
  constructor(status: number, body?: unknown) {
    this.status = status;
    this.body = body;
  }
}

const notFound = (): AdminProblem => new AdminProblem(404, { message: 'Not found' });

/** Answers one request to the Admin API as Kong 3.9 does, for the paths that the stand-in knows. */
export function answerAdmin(settings: AdminSettings, request: AdminRequest): AdminAnswer {
  try {
    return answer(settings, request);
  } catch (problem) {
    if (problem instanceof AdminProblem) return json(problem.status, problem.body);
    throw problem;
  }
}

const json = (status: number, body: unknown): AdminAnswer => ({
  status,
  headers: { 'Content-Type': 'application/json; charset=utf-8' },
  body: JSON.stringify(body),
});

function answer(settings: AdminSettings, request: AdminRequest): AdminAnswer {
  if (settings.rbacToken !== undefined) {
    const given = request.headers['kong-admin-token'];
    if (given === undefined) {
      return json(401, { message: 'Invalid RBAC credentials. Token or User credentials required' });
    }
    if (given !== settings.rbacToken) return json(401, { message: 'Invalid RBAC credentials' });
  }

  const [rawPath, search = ''] = split(request.target, '?');
  const path = rawPath.length > 1 ? rawPath.replace(/\/$/, '') : rawPath;
  let segments = path.split('/').slice(1).map(decoded);
  let store = settings.workspaces.get('default')!;
  const named = settings.prefixes ? settings.workspaces.get(segments[0] ?? '') : undefined;
  if (named) {
    store = named;
    segments = segments.length > 1 ? segments.slice(1) : [''];
  }

  const found = route(segments);
  if (!found) throw notFound();
  const { methods, params } = found;
  const allowed = Object.keys(methods);
  if (request.method === 'OPTIONS') {
    const allow = [...allowed, 'HEAD', 'OPTIONS'].sort().join(', ');
    const headers = {
      Allow: allow,
      'Access-Control-Allow-Methods': allow,
      'Access-Control-Allow-Headers': 'Content-Type',
    };
    return { status: 204, headers, body: '' };
  }
  const method = request.method === 'HEAD' ? 'GET' : request.method;
  const handler = methods[method as keyof Methods];
  if (!handler) throw new AdminProblem(405, { message: 'Method not allowed' });

  const type = (request.headers['content-type'] ?? '').split(';')[0]!.trim().toLowerCase();
  const fromForm = type === 'application/x-www-form-urlencoded';
  if (request.body !== '' && !fromForm && type !== 'application/json' && method !== 'GET') {
    const title = '<title>415 Unsupported Media Type</title>';
    const body = `<html>\r\n<head>${title}</head>\r\n<body>\r\n<center><h1>415 Unsupported Media Type</h1></center>\r\n</body>\r\n</html>\r\n`;
    return { status: 415, headers: { 'Content-Type': 'text/html; charset=UTF-8' }, body };
  }
  // As in Kong, the body is read before anything is looked up, so a broken body is refused first.
  const hasBody = method !== 'GET' && method !== 'DELETE';
  const body = !hasBody ? {} : fromForm ? formBody(request.body) : type === '' ? {} : jsonBody(request.body);

  const result = handler({
    store,
    settings,
    method,
    path,
    query: new URLSearchParams(search),
    params,
    body: () => body,
    fromForm,
  });
  const { status, body: value } = result instanceof Answer ? result : new Answer(200, result);
  return value === undefined ? { status, headers: {}, body: '' } : json(status, value);
}

const split = (text: string, at: string): [string, string?] => {
  const index = text.indexOf(at);
  return index < 0 ? [text] : [text.slice(0, index), text.slice(index + 1)];
};

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

function jsonBody(text: string): Values {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new AdminProblem(400, { message: 'Cannot parse JSON body' });
  }
  return isRecord(value) ? value : {};
}

/** `a.b=1` nests, `a[]=1` collects. */
function formBody(text: string): Values {
  const body: Values = {};
  for (const [name, value] of new URLSearchParams(text)) {
    const isList = name.endsWith('[]');
    const keys = (isList ? name.slice(0, -2) : name).split('.');
    const last = keys.pop()!;
    let at = body;
    for (const key of keys) at = (at[key] ??= {}) as Values;
    if (isList) ((at[last] ??= []) as unknown[]).push(value);
    else at[last] = value;
  }
  return body;
}

// ---- the paths ----

function route(segments: string[]): { methods: Methods; params: string[] } | undefined {
  const [first, second, third, fourth, ...more] = segments;
  if (more.length > 0) return undefined;
  const whole = segments.join('/');
  const fixed = Object.hasOwn(fixedPaths, whole) ? fixedPaths[whole] : undefined;
  if (fixed) return { methods: fixed, params: [] };
  if (first === 'tags' && second !== undefined && third === undefined)
    return { methods: tagPath, params: [second] };

  const collection = collections.find((name) => entityKinds[name].path === first);
  if (!collection) return undefined;
  if (second === undefined) return { methods: listOf(collection), params: [] };
  if (third === undefined) return { methods: oneOf(collection), params: [second] };

  // /consumers/{c}/plugins[/{p}], /services/{s}/routes, /consumers/{c}/key-auth[/{k}]
  const below = collections.find((name) => (entityKinds[name].underConsumer ?? name) === third);
  const field =
    below && Object.entries(entityKinds[below].fields).find(([, one]) => one.reference === collection)?.[0];
  if (below && field) {
    return fourth === undefined
      ? { methods: listBelow(collection, below, field), params: [second] }
      : { methods: oneBelow(collection, below, field), params: [second, fourth] };
  }
  // /routes/{r}/service, /key-auths/{k}/consumer
  const reference = entityKinds[collection].fields[third]?.reference;
  if (reference && fourth === undefined) {
    return { methods: { GET: (call) => referenced(call, collection, third, reference) }, params: [second] };
  }
  return undefined;
}

const fixedPaths: Record<string, Methods> = {
  '': { GET: (call) => nodeInfo(call.settings, call.store) },
  status: { GET: (call) => status(call.settings) },
  'plugins/enabled': { GET: () => ({ enabled_plugins: enabledPlugins }) },
  tags: { GET: (call) => ({ next: null, data: tagRows(call.store) }) },
  'schemas/plugins/validate': {
    POST: (call) => {
      call.store.checkPlugin(call.body());
      return { message: 'schema validation successful' };
    },
  },
  config: {
    POST: (call) => {
      const message = call.settings.dbless
        ? 'the stand-in does not load declarative configuration'
        : 'this endpoint is only available when Kong is configured to not use a database';
      throw new AdminProblem(400, { message });
    },
  },
};

const tagPath: Methods = {
  GET: (call) => ({ next: null, data: tagRows(call.store).filter((row) => row.tag === call.params[0]) }),
};

function tagRows(store: Store): { tag: unknown; entity_name: string; entity_id: string }[] {
  return collections
    .flatMap((name) => store.all(name).map((entity) => ({ name, entity })))
    .sort((a, b) => (a.entity.id < b.entity.id ? -1 : 1))
    .flatMap(({ name, entity }) =>
      ((entity['tags'] ?? []) as unknown[]).map((tag) => ({ tag, entity_name: name, entity_id: entity.id })),
    );
}

const listOf = (collection: Collection): Methods => ({
  GET: (call) => page(call, call.store.all(collection)),
  POST: (call) => new Answer(201, call.store.insert(collection, call.body(), call.fromForm)),
});

const oneOf = (collection: Collection): Methods => ({
  GET: (call) => call.store.find(collection, call.params[0]!) ?? fail(notFound()),
  PUT: (call) =>
    call.store.upsert(collection, pathName(collection, call.params[0]!), call.body(), call.fromForm),
  PATCH: (call) => {
    const name = call.params[0]!;
    const existing = call.store.find(collection, name) ?? fail(missing(collection, name));
    return call.store.update(collection, existing, call.body(), call.fromForm);
  },
  DELETE: (call) => {
    call.store.remove(collection, call.params[0]!);
    return new Answer(204);
  },
});

function listBelow(parent: Collection, collection: Collection, field: string): Methods {
  const owner = (call: Call): Entity => call.store.find(parent, call.params[0]!) ?? fail(notFound());
  return {
    GET: (call) => {
      const { id } = owner(call);
      return page(
        call,
        call.store.all(collection).filter((entity) => (entity[field] as { id: string } | null)?.id === id),
      );
    },
    POST: (call) => {
      const body = { ...call.body(), [field]: { id: owner(call).id } };
      return new Answer(201, call.store.insert(collection, body, call.fromForm));
    },
  };
}

function oneBelow(parent: Collection, collection: Collection, field: string): Methods {
  const owner = (call: Call): Entity => call.store.find(parent, call.params[0]!) ?? fail(notFound());
  const own = (call: Call): Entity => {
    const found = call.store.find(collection, call.params[1]!);
    return found && (found[field] as { id: string } | null)?.id === owner(call).id ? found : fail(notFound());
  };
  return {
    GET: own,
    PUT: (call) => {
      const body = { ...call.body(), [field]: { id: owner(call).id } };
      return call.store.upsert(collection, pathName(collection, call.params[1]!), body, call.fromForm);
    },
    PATCH: (call) => call.store.update(collection, own(call), call.body(), call.fromForm),
    DELETE: (call) => {
      call.store.remove(collection, own(call).id);
      return new Answer(204);
    },
  };
}

function referenced(call: Call, collection: Collection, field: string, target: string): unknown {
  const entity = call.store.find(collection, call.params[0]!) ?? fail(notFound());
  const key = entity[field] as { id: string } | null;
  return (key && call.store.get(target as Collection, key.id)) ?? fail(notFound());
}

function pathName(collection: Collection, name: string): string {
  const problem = collection === 'plugins' && !isUuid(name) ? invalidName(name) : undefined;
  if (problem === undefined) return name;
  throw new AdminProblem(400, { message: problem, name: 'invalid unique instance_name', code: 10 });
}

function missing(collection: Collection, name: string): AdminProblem {
  if (collection === 'plugins') return notFound();
  const key = { [isUuid(name) ? 'id' : (entityKinds[collection].unique[0] ?? 'id')]: name };
  const [field] = Object.keys(key);
  const what = field === 'id' ? 'primary key ' : '';
  const message = `could not find the entity with ${what}'{${field ?? ''}="${name}"}'`;
  return new AdminProblem(404, { message, name: 'not found', fields: key, code: 6 });
}

function fail(problem: AdminProblem): never {
  throw problem;
}

// ---- lists ----

function page(call: Call, rows: Entity[]): Values {
  const { query } = call;
  const sizeText = query.get('size');
  const size = sizeText === null ? 100 : Number(sizeText);
  const invalidSize = (message: string): AdminProblem =>
    new AdminProblem(400, { message, name: 'invalid size', code: 9 });
  if (Number.isNaN(size)) throw invalidSize('size must be a number');
  if (!Number.isInteger(size) || size < 1 || size > 1000) {
    throw invalidSize('size must be an integer between 1 and 1000');
  }

  const tags = query.get('tags');
  const customId = query.get('custom_id');
  let wanted = tags === null ? rows : rows.filter(byTags(tags));
  if (customId !== null && call.path === '/consumers')
    wanted = wanted.filter((row) => row['custom_id'] === customId);

  const offset = query.get('offset');
  if (offset !== null) {
    const after = offsetId(offset);
    wanted = wanted.filter((row) => row.id > after);
  }
  const data = wanted.slice(0, size);
  if (wanted.length <= size) return { data, next: null };
  const nextOffset = Buffer.from(JSON.stringify([data.at(-1)!.id])).toString('base64url');
  const kept = [`offset=${nextOffset}`];
  if (tags !== null) kept.push(`tags=${encodeURIComponent(tags)}`);
  if (sizeText !== null) kept.push(`size=${sizeText}`);
  return { data, offset: nextOffset, next: `${call.path}?${kept.join('&')}` };
}

function byTags(filter: string): (row: Entity) => boolean {
  const invalid = (problem: string): AdminProblem =>
    new AdminProblem(400, {
      message: `invalid option (tags: ${problem})`,
      name: 'invalid options',
      options: { tags: problem },
      code: 11,
    });
  if (filter === '') throw invalid('cannot be null');
  if (filter.includes(',') && filter.includes('/')) throw invalid('invalid filter syntax');
  const wanted = filter.split(/[,/]/);
  const has = (row: Entity) => (tag: string) => ((row['tags'] ?? []) as string[]).includes(tag);
  return filter.includes('/') ? (row) => wanted.some(has(row)) : (row) => wanted.every(has(row));
}

function offsetId(offset: string): string {
  const invalid = (problem: string): AdminProblem =>
    new AdminProblem(400, {
      message: `'${offset}' is not a valid offset: ${problem}`,
      name: 'invalid offset',
      code: 7,
    });
  if (!/^[\w-]+$/.test(offset) || offset.length % 4 === 1) throw invalid('bad base64 encoding');
  try {
    const [id] = JSON.parse(Buffer.from(offset, 'base64url').toString()) as unknown[];
    if (typeof id === 'string') return id;
  } catch {
    // Falls through to the same answer.
  }
  throw invalid('bad json encoding');
}

// ---- the node ----

/** The part of the node's self-description that a client can use. */
function nodeInfo(settings: AdminSettings, store: Store): Values {
  const inUse = new Set(store.all('plugins').map((plugin) => String(plugin['name'])));
  const known = [...new Set([...enabledPlugins, ...Object.keys(pluginKinds)])];
  return {
    tagline: 'Welcome to kong',
    version: settings.version,
    edition: settings.prefixes ? 'enterprise' : 'community',
    hostname: settings.hostname,
    node_id: '0d5c4a3e-0000-4000-8000-000000000001',
    lua_version: 'LuaJIT 2.1.1700206165',
    plugins: {
      enabled_in_cluster: [...inUse],
      available_on_server: Object.fromEntries(
        known.map((name) => [name, { version: settings.version, priority: 0 }]),
      ),
    },
    configuration: {
      role: 'traditional',
      database: settings.dbless ? 'off' : 'postgres',
      worker_consistency: 'eventual',
      worker_state_update_frequency: 5,
      db_update_frequency: 5,
    },
  };
}

function status(settings: AdminSettings): Values {
  const counts = ['active', 'waiting', 'reading', 'writing', 'accepted', 'handled'];
  return {
    server: { ...Object.fromEntries(counts.map((name) => [`connections_${name}`, 1])), total_requests: 1 },
    memory: { lua_shared_dicts: {}, workers_lua_vms: [] },
    ...(settings.dbless ? { configuration_hash: '0'.repeat(32) } : {}),
    database: { reachable: true },
  };
}
