import { createHash } from 'node:crypto';
import { collections, enabledPlugins, entityKinds, pluginKinds } from './entities.ts';
import type { Collection } from './entities.ts';
import { isRecord, isUuid, validate, violationsText } from './schema.ts';
import type { Fields, Values, Violations } from './schema.ts';

export interface Entity extends Values {
  id: string;
}

/** Entities to begin with. Fields may be left out as in a body of the Admin API; `id` and times may be given. */
export type Seed = Partial<Record<Collection, Values[]>>;

/** An answer of the Admin API that is not a success. */
export class AdminProblem extends Error {
  readonly status: number;
  readonly body: Values;
  constructor(status: number, body: Values) {
    super(String(body['message']));
    this.status = status;
    this.body = body;
  }
}

const luaKey = (key: Values): string =>
  `{${Object.keys(key)
    .sort()
    .map((name) => {
      const value = key[name];
      if (isRecord(value)) return `${name}=${luaKey(value)}`;
      return `${name}=${typeof value === 'string' ? `"${value}"` : String(value)}`;
    })
    .join(',')}}`;

const conflict = (key: Values): AdminProblem =>
  new AdminProblem(409, {
    message: `UNIQUE violation detected on '${luaKey(key)}'`,
    name: 'unique constraint violation',
    fields: key,
    code: 5,
  });

const schemaViolation = (fields: Record<string, Violations>): AdminProblem =>
  new AdminProblem(400, { message: violationsText(fields), name: 'schema violation', fields, code: 2 });

/** The entities of one workspace, with Kong's rules on them: schema, defaults, uniqueness, references. */
export class Store {
  readonly #rows = new Map<Collection, Map<string, Entity>>(collections.map((name) => [name, new Map()]));
  readonly #clock: () => number;
  readonly #newId: () => string;
  readonly #readOnly: boolean;
  readonly #changed: () => void;

  /** @param clock ms since the epoch. @param changed called after every write. */
  constructor(options: { clock: () => number; newId: () => string; readOnly: boolean; changed: () => void }) {
    this.#clock = options.clock;
    this.#newId = options.newId;
    this.#readOnly = options.readOnly;
    this.#changed = options.changed;
  }

  /** Adds the entities without the checks of a write, since a DB-less Kong has entities too. */
  load(seed: Seed): void {
    for (const collection of collections) {
      for (const values of seed[collection] ?? []) {
        const entity = this.#checked(collection, values, false);
        entity.id = typeof values['id'] === 'string' ? values['id'] : this.#newId();
        this.#stamp(collection, entity, undefined);
        this.#rowsOf(collection).set(entity.id, entity);
      }
    }
    this.#changed();
  }

  /** All entities of a kind, sorted by id as Kong lists them. */
  all(collection: Collection): Entity[] {
    return [...this.#rowsOf(collection).values()].sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  get(collection: Collection, id: string): Entity | undefined {
    return this.#rowsOf(collection).get(id);
  }

  /** Finds an entity by its id, else by the name that may stand in a path (for a consumer not the custom id). */
  find(collection: Collection, idOrName: string): Entity | undefined {
    const byId = this.get(collection, idOrName);
    const name = entityKinds[collection].unique[0];
    if (byId || name === undefined) return byId;
    return this.findBy(collection, name, idOrName);
  }

  findBy(collection: Collection, field: string, value: unknown): Entity | undefined {
    for (const entity of this.#rowsOf(collection).values()) if (entity[field] === value) return entity;
    return undefined;
  }

  insert(collection: Collection, body: Values, fromForm = false): Entity {
    const entity = this.#checked(collection, body, fromForm);
    this.#mayWrite('create', collection);
    entity.id = typeof body['id'] === 'string' ? body['id'] : this.#newId();
    return this.#put(collection, entity, undefined);
  }

  /** Creates the entity or replaces it as a whole. */
  upsert(collection: Collection, idOrName: string, body: Values, fromForm = false): Entity {
    const existing = this.find(collection, idOrName);
    const name = entityKinds[collection].unique[0];
    const named = isUuid(idOrName) || name === undefined ? {} : { [name]: idOrName };
    const entity = this.#checked(collection, { ...body, ...named }, fromForm);
    this.#mayWrite('create or update', collection);
    entity.id = existing?.id ?? (isUuid(idOrName) ? idOrName : this.#newId());
    return this.#put(collection, entity, existing);
  }

  /** Changes the given fields: records are merged, everything else is replaced. */
  update(collection: Collection, existing: Entity, change: Values, fromForm = false): Entity {
    const { id, ...before } = existing;
    const entity = this.#checked(collection, merge(before, change, entityKinds[collection].fields), fromForm);
    this.#mayWrite('update', collection);
    entity.id = id;
    return this.#put(collection, entity, existing);
  }

  /** Removes the entity and those that refer to it; throws where Kong refuses that. */
  remove(collection: Collection, idOrName: string): void {
    this.#mayWrite('remove', collection);
    const entity = this.find(collection, idOrName);
    if (!entity) return;
    for (const other of collections) {
      for (const [field, { reference }] of Object.entries(entityKinds[other].fields)) {
        if (reference !== collection) continue;
        const dependents = this.all(other).filter(
          (row) => (row[field] as { id: string } | null)?.id === entity.id,
        );
        if (dependents.length > 0 && other === 'routes') {
          throw new AdminProblem(400, {
            message: `an existing '${other}' entity references this '${collection}' entity`,
            name: 'foreign key violation',
            fields: { '@referenced_by': other },
            code: 4,
          });
        }
        for (const dependent of dependents) this.#rowsOf(other).delete(dependent.id);
      }
    }
    this.#rowsOf(collection).delete(entity.id);
    this.#changed();
  }

  /** Checks a plugin as a write would, without writing it. */
  checkPlugin(body: Values): void {
    this.#checked('plugins', body, false);
  }

  #rowsOf(collection: Collection): Map<string, Entity> {
    return this.#rows.get(collection)!;
  }

  #mayWrite(operation: string, collection: Collection): void {
    if (!this.#readOnly) return;
    throw new AdminProblem(405, {
      message: `cannot ${operation} '${collection}' entities when not using a database`,
      name: 'operation unsupported',
      code: 12,
    });
  }

  #put(collection: Collection, entity: Entity, existing: Entity | undefined): Entity {
    this.#checkUnique(collection, entity);
    this.#stamp(collection, entity, existing);
    this.#rowsOf(collection).set(entity.id, entity);
    this.#changed();
    return entity;
  }

  #stamp(collection: Collection, entity: Entity, existing: Entity | undefined): void {
    const seconds = Math.floor(this.#clock() / 1000);
    entity['created_at'] = existing?.['created_at'] ?? entity['created_at'] ?? seconds;
    if ('updated_at' in entityKinds[collection].fields) {
      entity['updated_at'] = existing ? seconds : (entity['updated_at'] ?? entity['created_at']);
    }
    if (collection === 'basicauth_credentials' && !/^[0-9a-f]{40}$/.test(String(entity['password']))) {
      // Kong stores the hash. A password that looks like one is taken as it is, because a seed gives hashes.
      const consumer = entity['consumer'] as { id: string };
      entity['password'] = passwordHash(String(entity['password']), consumer.id);
    }
  }

  #checkUnique(collection: Collection, entity: Entity): void {
    const others = this.all(collection).filter((other) => other.id !== entity.id);
    if (collection === 'plugins') {
      const { name, consumer, route, service } = entity;
      const key: Values = { name, consumer, route, service };
      if (others.some((other) => Object.keys(key).every((field) => same(other[field], key[field])))) {
        throw conflict(key);
      }
    }
    for (const field of entityKinds[collection].unique) {
      if (entity[field] !== null && others.some((other) => other[field] === entity[field])) {
        throw conflict({ [field]: entity[field] });
      }
    }
  }

  #checked(collection: Collection, body: Values, fromForm: boolean): Entity {
    const kind = entityKinds[collection];
    let fields = kind.fields;
    const input = { ...body };
    delete input['id'];
    const plugin = collection === 'plugins' ? pluginKinds[String(input['name'])] : undefined;
    if (collection === 'plugins') {
      const name = input['name'];
      if (typeof name !== 'string') throw schemaViolation({ name: 'required field missing' });
      if (!enabledPlugins.includes(name)) {
        const problem = `plugin '${name}' not enabled; add it to the 'plugins' configuration property`;
        throw schemaViolation({ name: problem });
      }
      fields = {
        ...fields,
        config: plugin
          ? { type: 'record', required: true, fields: plugin.config }
          : { type: 'any', default: {}, required: true },
        ...(plugin?.protocols ? { protocols: { ...fields['protocols']!, default: plugin.protocols } } : {}),
      };
    }
    const { value, violations = {} } = validate(fields, input, fromForm);
    if (plugin?.notOnConsumer && isRecord(input['consumer'])) violations['consumer'] = 'value must be null';
    if (Object.keys(violations).length > 0) throw schemaViolation(violations);
    const across = plugin?.check?.(value['config'] as Values);
    if (across) throw schemaViolation(across);
    if (kind.atLeastOneOf?.every((field) => value[field] === null)) {
      const names = kind.atLeastOneOf.map((field) => `'${field}'`).join(', ');
      throw schemaViolation({ '@entity': [`at least one of these fields must be non-empty: ${names}`] });
    }
    this.#resolve(fields, value);
    return value as Entity;
  }

  #resolve(fields: Fields, value: Values): void {
    for (const [name, field] of Object.entries(fields)) {
      const key = value[name];
      if (!field.reference || !isRecord(key)) continue;
      const wanted = key['id'] ?? key['name'] ?? key['username'];
      const target = this.find(field.reference as Collection, String(wanted));
      if (!target) {
        throw new AdminProblem(400, {
          message: `the foreign key '${luaKey(key)}' does not reference an existing '${field.reference}' entity.`,
          name: 'foreign key violation',
          fields: { [name]: key },
          code: 4,
        });
      }
      value[name] = { id: target.id };
    }
  }
}

export const passwordHash = (password: string, consumerId: string): string =>
  createHash('sha1')
    .update(password + consumerId)
    .digest('hex');

const same = (a: unknown, b: unknown): boolean =>
  isRecord(a) && isRecord(b) ? a['id'] === b['id'] : a === b;

function merge(before: Values, change: Values, fields: Fields): Values {
  const merged = { ...before, ...change };
  for (const [name, field] of Object.entries(fields)) {
    const [old, wanted] = [before[name], change[name]];
    if (field.type !== 'record' || !isRecord(old) || !isRecord(wanted)) continue;
    const inner = field.fields ?? pluginKinds[String(merged['name'])]?.config ?? {};
    merged[name] = merge(old, wanted, inner);
  }
  return merged;
}
