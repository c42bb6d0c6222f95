import { existsSync, readFileSync } from 'node:fs';
import { dirname, isAbsolute, resolve } from 'node:path';
import { z } from 'zod';
import { UserError } from './errors.ts';
import { nearestOf } from './nearest.ts';

const variablePrefix = 'TRIPLINE_';

const port = z.int().min(0).max(65_535);
const bytes = z.int().min(1);
const file = z.string().min(1);
const hostAndPort = z.string().regex(/^[^\s:/[\]]+:[0-9]{1,5}$/, 'allowed: host:port');
function isPattern(text: string): boolean {
  try {
    return new RegExp(text, 'u') instanceof RegExp;
  } catch {
    return false;
  }
}

const tlsClientSchema = z.strictObject({
  caFile: file.optional().describe("PEM certificates to trust, if not the system's."),
  certFile: file.optional().describe('PEM client certificate.'),
  keyFile: file.optional().describe('PEM key of the client certificate.'),
  serverName: z.string().optional().describe('Name that the certificate must carry, if not the host.'),
  insecure: z.boolean().optional().describe('Take any certificate. For trying things out only.'),
});

const collectorSchema = z.strictObject({
  host: z.string().default('0.0.0.0').describe('Address to listen on.'),
  port: port.default(9600).describe('Port for plain TCP.'),
  tls: z
    .strictObject({
      port: port.default(9601),
      certFile: file.optional().describe('PEM certificate chain.'),
      keyFile: file.optional().describe('PEM private key.'),
      certificates: z
        .array(z.strictObject({ certFile: file, keyFile: file }))
        .min(1)
        .optional()
        .describe(
          'Several certificates, instead of certFile and keyFile or beside them: the one that is for the name that Kong asks ' +
            'for (tls_sni), else the first.',
        ),
    })
    .refine((tls) => (tls.certFile === undefined) === (tls.keyFile === undefined), {
      message: 'certFile and keyFile belong together',
    })
    .refine((tls) => tls.certFile !== undefined || tls.certificates !== undefined, {
      message: 'certFile and keyFile are needed, or certificates',
    })
    .optional()
    .describe(
      'Also listen with TLS. Kong before 3.13 does not verify the certificate: this keeps others from reading along.',
    ),
  http: z
    .strictObject({
      port: port.default(9603),
      maxBodyBytes: bytes
        .default(8 * 2 ** 20)
        .describe('Largest body; four times as much is held at the same time.'),
    })
    .optional()
    .describe(
      "Also take what Kong's http-log plugin posts; {} for port 9603. HTTPS if collector.tls is set.",
    ),
  spool: z
    .strictObject({
      dir: file.optional().describe('Left out: spool in dataDir. Each collector needs its own.'),
      maxBytes: bytes
        .default(2 ** 30)
        .describe('What may wait on disk while the bus does not answer. Beyond it the newest are dropped.'),
    })
    .prefault({}),
  token: z
    .string()
    .min(8)
    .optional()
    .describe('Lines must carry it in the custom field tripline.token; see `tripline kong connect`.'),
  allow: z
    .array(z.string())
    .default([])
    .describe('Addresses or CIDR networks of the Kong nodes. Empty: any address may connect.'),
  trustUnauthenticated: z
    .boolean()
    .default(false)
    .describe(
      'Let policies block although neither token nor allow keeps forged lines out: something else, such as a firewall or ' +
        'a NetworkPolicy, keeps strangers away from these ports.',
    ),
  maxLineBytes: bytes.default(1_048_576),
  maxDepth: z.int().min(8).max(1000).default(32).describe('Deepest nesting of a line.'),
  maxUnfinishedBytes: bytes
    .default(64 * 2 ** 20)
    .describe(
      'Memory that lines which have begun and not ended may hold, of all connections together. Beyond it the connection ' +
        'with the largest of them is closed.',
    ),
  maxConnections: z.int().min(1).default(1_000),
  maxConnectionsPerAddress: z.int().min(1).default(200),
  frameTimeoutMs: z
    .int()
    .min(100)
    .default(30_000)
    .describe('Longest time between the first byte of a line and its end.'),
  idleTimeoutMs: z
    .int()
    .min(60_000)
    .default(300_000)
    .describe('Longest silence between lines; Kong itself closes after 60 s.'),
  maxAheadMs: z
    .int()
    .min(1_000)
    .default(300_000)
    .describe("How far a line's time may be ahead of this machine's clock."),
  keepHeaders: z.array(z.string()).default([]).describe('Further request headers to keep, sanitised.'),
  credentialNames: z
    .array(z.string())
    .default([])
    .describe(
      "Headers and query parameters that carry API keys, besides the usual ones: what your key-auth's key_names say.",
    ),
});

const serviceSchema = z.strictObject({
  name: z.string().min(1).describe('Name of the Kong service, or its id if it has none.'),
  identity: z
    .strictObject({
      header: z.string().min(1).optional().describe('Request header that carries the caller.'),
      cookie: z.string().min(1).optional().describe('Cookie that carries the caller.'),
      query: z.string().min(1).optional().describe('Query parameter that carries the caller.'),
      claim: z
        .string()
        .regex(/^[A-Za-z0-9._:/@-]{1,200}$/, 'allowed: 1 to 200 of A-Z a-z 0-9 . _ : / @ -')
        .optional()
        .describe(
          'Claim of the JSON Web Token there, such as sub. Alone: of the bearer token, which Kong hides from its log lines; ' +
            '`tripline kong connect` then makes Kong compute a fingerprint of it (kong.fingerprintKey).',
        ),
    })
    .refine(
      ({ header, cookie, query }) => [header, cookie, query].filter((one) => one !== undefined).length <= 1,
      { message: 'only one of header, cookie and query is allowed' },
    )
    .refine((identity) => Object.values(identity).some((one) => one !== undefined), {
      message: 'one of header, cookie, query and claim is needed',
    })
    .optional()
    .describe(
      'Who the caller is, where the service authenticates callers itself and no plugin of Kong does. Without it the address ' +
        'acts, until endpoints are seen to verify credentials.',
    ),
  authEndpoints: z
    .array(
      z.strictObject({
        path: z
          .string()
          .startsWith('/')
          .describe('Path as it is sent to Kong; * stands for any characters but a slash.'),
        method: z
          .string()
          .regex(/^[A-Z]+$/, 'allowed: a method in capitals, such as POST')
          .optional()
          .describe('Left out: POST, PUT and PATCH.'),
        failure: z
          .strictObject({
            statuses: z.array(z.int().min(200).max(599)).optional(),
            redirectTo: z
              .string()
              .min(1)
              .optional()
              .describe(
                'Path to which a failed attempt is redirected; * stands for any characters but a slash.',
              ),
            responseBytesBelow: bytes
              .optional()
              .describe('Answers of 200 are failures below this size, headers included.'),
          })
          .optional()
          .describe('What means a failed attempt besides the statuses 400, 401, 403, 422 and 429.'),
      }),
    )
    .default([])
    .describe('Endpoints at which people log in or prove who they are, besides those whose path says so.'),
});

const kafkaSchema = z.strictObject({
  brokers: z.array(hostAndPort).min(1).describe('Where to ask first, such as ["kafka-1:9092"].'),
  clientId: z.string().min(1).default('tripline'),
  topicPrefix: z
    .string()
    .regex(/^[a-zA-Z0-9._-]{0,100}$/, 'allowed: letters, digits and . _ -')
    .default('tripline.')
    .describe('Before the names of topics and consumer groups.'),
  partitions: z
    .int()
    .min(1)
    .max(1_000)
    .default(12)
    .describe('Of each topic: at most so many processors share the work. Cannot be changed later.'),
  replicationFactor: z
    .int()
    .min(1)
    .default(3)
    .describe('Copies of each partition, for topics that Tripline makes; not more than there are brokers.'),
  retentionHours: z
    .int()
    .min(1)
    .default(48)
    .describe(
      'How long API calls are kept on the bus: what roles may be behind, and states be rebuilt from.',
    ),
  sasl: z
    .strictObject({
      mechanism: z.enum(['plain', 'scram-sha-256', 'scram-sha-512']),
      username: z.string().min(1),
      password: z.string().min(1),
    })
    .optional(),
  tls: tlsClientSchema.optional().describe("{} for TLS with the system's authorities."),
});

const redisSchema = z
  .strictObject({
    url: z
      .url({ protocol: /^rediss?$/ })
      .optional()
      .describe('redis://host:6379/0, rediss:// for TLS.'),
    cluster: z
      .array(hostAndPort)
      .min(1)
      .optional()
      .describe('Nodes of a Redis Cluster to ask first, instead of url.'),
    username: z.string().optional(),
    password: z
      .string()
      .optional()
      .describe('Best given by the environment: TRIPLINE_STATE__REDIS__PASSWORD.'),
    keyPrefix: z
      .string()
      .regex(/^[^{}]{0,100}$/, 'allowed: up to 100 characters, no braces')
      .default('tripline')
      .describe('Before every key.'),
    tls: tlsClientSchema.optional(),
  })
  .refine((redis) => (redis.url === undefined) !== (redis.cluster === undefined), {
    message: 'either url or cluster is needed, not both',
  });

const clickhouseSchema = z.strictObject({
  url: z.url({ protocol: /^https?$/ }).describe('HTTP interface, such as http://clickhouse:8123.'),
  username: z.string().default('default'),
  password: z
    .string()
    .default('')
    .describe('Best given by the environment: TRIPLINE_LAKE__CLICKHOUSE__PASSWORD.'),
  cluster: z
    .string()
    .regex(/^[a-zA-Z0-9_.{}-]+$/)
    .optional()
    .describe('Name of a cluster of replicas: tables are made ON CLUSTER and replicated.'),
  tls: tlsClientSchema.optional(),
});

const days = z.int().min(1).max(3_650);

const responderSchema = z.strictObject({
  retention: z
    .strictObject({
      endedDays: days
        .default(7)
        .describe('Ended responses are remembered this long after their alert was last received.'),
      endedMax: z
        .int()
        .min(100)
        .max(1_000_000)
        .default(10_000)
        .describe('Ended responses at most, lifted ones and dry runs not counted.'),
      dryRunsMax: z.int().min(100).max(1_000_000).default(10_000).describe('Decisions of dry runs at most.'),
      liftedDays: days
        .default(365)
        .describe('Lifted responses are remembered this long if their alert is never received again.'),
      notifiedAlertDays: days
        .default(7)
        .describe(
          'Alerts that a webhook was notified of are remembered this long. An episode without calls ends before.',
        ),
      notifiedAlertsMax: z
        .int()
        .min(1_000)
        .max(1_000_000)
        .default(50_000)
        .describe(
          'Alerts that a webhook was notified of, at most, per webhook; about 500 bytes of memory each.',
        ),
    })
    .prefault({})
    .describe(
      'How long the responder remembers what is over, so that the same alert does not start a response or a message again.',
    ),
});

const configShape = {
  $schema: z.string().optional(),
  dataDir: file.default('./tripline-data'),
  logLevel: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
  http: z
    .strictObject({ host: z.string().default('127.0.0.1'), port: port.default(9602) })
    .prefault({})
    .describe('Health and metrics.'),
  collector: collectorSchema.prefault({}),
  services: z
    .array(serviceSchema)
    .default([])
    .refine((list) => new Set(list.map((one) => one.name)).size === list.length, {
      message: 'two services have the same name',
    })
    .refine(
      (list) =>
        new Set(
          list.flatMap(({ identity }) =>
            identity?.claim !== undefined && !identity.header && !identity.cookie && !identity.query
              ? [identity.claim]
              : [],
          ),
        ).size <= 1,
      { message: 'only one claim of the bearer token can be computed by Kong, the same for all services' },
    )
    .describe('What Tripline cannot know about services behind Kong.'),
  sanitize: z
    .strictObject({
      keyFile: file
        .optional()
        .describe('Key of the tokens, at least 32 bytes as base64. Left out: made in dataDir.'),
      secretNames: z.array(z.string()).default([]).describe('Further names whose values are secret.'),
      secretPatterns: z
        .array(
          z
            .string()
            .refine(
              isPattern,
              'allowed: JavaScript regular expressions without slashes and flags, such as acme_[a-z0-9]{20}',
            ),
        )
        .default([])
        .describe('Further regular expressions whose matches are secret.'),
    })
    .prefault({}),
  geo: z
    .strictObject({
      cityFile: file.optional().describe('MMDB with cities or countries.'),
      asnFile: file.optional().describe('MMDB with network operators.'),
    })
    .prefault({}),
  bus: z
    .strictObject({
      maxBytes: bytes
        .default(4 * 2 ** 30)
        .describe(
          'Embedded: what may wait on disk for a role that is behind. Each topic has its share, api-calls 75 %; see packages/bus.',
        ),
      kafka: kafkaSchema.optional().describe('Kafka as the bus. Left out: a log in dataDir.'),
    })
    .prefault({}),
  state: z
    .strictObject({
      redis: redisSchema.optional().describe('Redis keeps the state. Left out: files in dataDir.'),
    })
    .prefault({}),
  lake: z
    .strictObject({
      enabled: z.boolean().default(true),
      retentionDays: z.int().min(1).max(3_650).default(30),
      clickhouse: clickhouseSchema
        .optional()
        .describe(
          'A ClickHouse server holds the lake. Left out: the engine in this process, files in dataDir.',
        ),
    })
    .prefault({}),
  kong: z
    .strictObject({
      adminUrl: z
        .url({ protocol: /^https?$/ })
        .optional()
        .describe('Admin API, http://localhost:8001. Left out: alerts only.'),
      workspace: z.string().optional().describe('Kong Enterprise workspace.'),
      adminToken: z.string().optional().describe('Kong-Admin-Token (Enterprise RBAC).'),
      adminHeaders: z
        .record(z.string(), z.string())
        .optional()
        .describe('Further headers for a proxy before the Admin API.'),
      tls: tlsClientSchema.optional(),
      fingerprintKey: z
        .string()
        .min(16)
        .optional()
        .describe(
          'Key of the fingerprints that Kong computes; whoever can read plugin configuration can read it.',
        ),
    })
    .prefault({}),
  policiesFile: file.default('./policies.json'),
  responder: responderSchema.prefault({}),
  webhooks: z
    .array(
      z.strictObject({
        id: z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'allowed: 1 to 63 of a-z, 0-9 and -'),
        url: z.url({ protocol: /^https?$/ }),
        secret: z
          .string()
          .min(16)
          .describe('Standard Webhooks secret, whsec_ and base64, or any text of 16 or more.'),
        allowPrivate: z
          .boolean()
          .default(false)
          .describe('Allow private, loopback and link-local addresses.'),
        maxPerMinute: z
          .int()
          .min(1)
          .max(6_000)
          .default(30)
          .describe(
            'Messages per minute at most, retries included. Alerts above it are collected, and one digest per policy is sent.',
          ),
        digestMinutes: z
          .int()
          .min(1)
          .max(1_440)
          .default(1)
          .describe('How often a digest is sent while there is something to collect.'),
      }),
    )
    .default([])
    .refine((list) => new Set(list.map((one) => one.id)).size === list.length, {
      message: 'two webhooks have the same id',
    }),
  detectors: z
    .record(z.string(), z.unknown())
    .default({})
    .describe('Settings per detector; see packages/detection.'),
};

export const configSchema = z
  .strictObject(configShape)
  .describe('Configuration of Tripline (tripline.json).');

export type Config = z.infer<typeof configSchema>;

/** The JSON Schema of `tripline.json` (draft 2020-12), as it is published in `tripline.schema.json`. */
export function configJsonSchema(): Record<string, unknown> {
  const { $schema, ...schema } = z.toJSONSchema(configSchema, { io: 'input' });
  return { $schema, title: 'Tripline configuration', ...schema };
}

export interface LoadedConfig {
  config: Config;
  /** The file it came from; undefined if there is none. */
  file: string | undefined;
  /** Relative paths of the configuration are relative to this: the file's directory, else the working directory. */
  baseDir: string;
}

/**
 * Reads the configuration: `tripline.json` (or `path`), then environment variables over it: `TRIPLINE_` and the path in
 * capitals joined by `__`, e.g. `TRIPLINE_COLLECTOR__PORT=9700`; a value is taken as JSON where it is JSON, else as text.
 * `detectors` is the schema of that section, which is no business of this package; without it nothing in it is looked at.
 * Throws a `UserError` that lists every problem at once.
 */
export function loadConfig(options: {
  path?: string | undefined;
  env: Record<string, string | undefined>;
  cwd: string;
  detectors?: z.ZodType<Config['detectors']>;
}): LoadedConfig {
  const { detectors } = options;
  const schema = detectors ? configSchema.extend({ detectors: detectors.prefault({}) }) : configSchema;
  const path = resolve(options.cwd, options.path ?? options.env.TRIPLINE_CONFIG ?? 'tripline.json');
  const exists = existsSync(path);
  if (!exists && (options.path ?? options.env.TRIPLINE_CONFIG) !== undefined) {
    throw new UserError(`There is no configuration file ${path}.`);
  }
  let raw: unknown = {};
  if (exists) {
    const text = read(path);
    try {
      raw = JSON.parse(text);
    } catch (error) {
      throw new UserError(`${path} is not valid JSON: ${(error as Error).message}`);
    }
  }
  const { merged, variables } = withEnvironment(schema, raw, options.env);
  const parsed = schema.safeParse(merged);
  if (!parsed.success)
    throw new UserError(
      problemsOf(schema, exists ? path : 'the environment', variables, parsed.error, merged),
    );
  const baseDir = exists ? dirname(path) : options.cwd;
  return { config: parsed.data, file: exists ? path : undefined, baseDir };
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new UserError(`The configuration ${path} cannot be read: ${(error as Error).message}`);
  }
}

/** A path of the configuration as an absolute one. */
export function resolvePath(loaded: Pick<LoadedConfig, 'baseDir'>, path: string): string {
  return isAbsolute(path) ? path : resolve(loaded.baseDir, path);
}

/** An environment variable that was taken, and the path that it set. */
interface Variable {
  name: string;
  path: string[];
}

function withEnvironment(
  schema: z.ZodType,
  raw: unknown,
  env: Record<string, string | undefined>,
): { merged: unknown; variables: Variable[] } {
  const variables: Variable[] = [];
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) return { merged: raw, variables };
  const merged = structuredClone(raw) as Record<string, unknown>;
  for (const [name, value] of Object.entries(env)) {
    if (!name.startsWith(variablePrefix) || name === 'TRIPLINE_CONFIG' || value === undefined) continue;
    const steps = name.slice(variablePrefix.length).split('__');
    const path: string[] = [];
    let at = merged;
    let shape: unknown = schema;
    steps.forEach((step, index) => {
      const key = keyOf(shape, step);
      path.push(key);
      shape = childOf(shape, key);
      if (index === steps.length - 1) {
        // A password of digits is a text, not a number.
        at[key] = typeOf(shape) === 'string' ? value : fromText(value);
      } else {
        const next = at[key];
        at = (typeof next === 'object' && next !== null ? next : (at[key] = {})) as Record<string, unknown>;
      }
    });
    variables.push({ name, path });
  }
  return { merged, variables };
}

interface MaybeWrapped {
  shape?: Record<string, unknown>;
  unwrap?: () => unknown;
}

function objectOf(schema: unknown): Record<string, unknown> | undefined {
  let at = schema as MaybeWrapped | undefined;
  while (at && !at.shape && typeof at.unwrap === 'function') at = at.unwrap() as MaybeWrapped;
  return at?.shape;
}

/** `MAXLINEBYTES` and `MAX_LINE_BYTES` both mean `maxLineBytes`; an unknown name stays, so that the schema refuses it. */
function keyOf(schema: unknown, step: string): string {
  const wanted = step.replaceAll('_', '').toLowerCase();
  return (
    Object.keys(objectOf(schema) ?? {}).find((key) => key.toLowerCase() === wanted) ?? step.toLowerCase()
  );
}

function childOf(schema: unknown, key: string): unknown {
  return objectOf(schema)?.[key];
}

const wrappers = ['optional', 'default', 'prefault', 'nullable'];

function typeOf(schema: unknown): string | undefined {
  let at = schema as (MaybeWrapped & { def?: { type?: string } }) | undefined;
  while (at?.unwrap && wrappers.includes(at.def?.type ?? '')) at = at.unwrap() as typeof at;
  return at?.def?.type;
}

function fromText(value: string): unknown {
  if (!/^(-?[0-9]|true$|false$|null$|[[{"])/.test(value)) return value;
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}

/** The paths of all keys that there are. What is in an array has a `*` for its place. */
function knownPaths(schema: unknown, above: readonly string[] = []): string[][] {
  const within = typeOf(schema) === 'array' ? [...above, '*'] : above;
  return Object.entries(objectOf(schema) ?? {}).flatMap(([key, child]) => {
    const path = [...within, key];
    return [path, ...knownPaths(child, path)];
  });
}

function variableOf(path: readonly string[]): string {
  return variablePrefix + path.map((key) => key.replace(/[A-Z]/g, '_$&').toUpperCase()).join('__');
}

function unknownVariable(schema: z.ZodType, name: string): string {
  const known = knownPaths(schema).filter((path) => !path.includes('*'));
  const nearest = nearestOf(name, ['TRIPLINE_CONFIG', ...known.map(variableOf)]);
  return `there is no such variable; the nearest known one is ${nearest}`;
}

function unknownKey(schema: z.ZodType, path: readonly string[]): string {
  const known = knownPaths(schema).map((one) => one.join('.'));
  const wanted = path.map((step) => (/^[0-9]+$/.test(step) ? '*' : step)).join('.');
  return `there is no such key; the nearest known one is ${nearestOf(wanted, known)}`;
}

/** `where` is what has the problems that no variable has. */
function problemsOf(
  schema: z.ZodType,
  where: string,
  variables: readonly Variable[],
  error: z.ZodError,
  input: unknown,
): string {
  const sources = new Set<string>();
  const lines: string[] = [];
  const add = (path: readonly string[], variable: Variable | undefined, message: string): void => {
    sources.add(variable ? 'the environment' : where);
    const within = path.slice(variable?.path.length ?? 0).join('.');
    const names = [variable?.name, within].filter((name) => name !== undefined && name !== '');
    lines.push(`  ${names.join(': ') || '(whole file)'}: ${message}`);
  };
  for (const issue of error.issues) {
    const path = issue.path.map(String);
    if (issue.code === 'unrecognized_keys') {
      for (const key of issue.keys) {
        const whole = [...path, key];
        const within = variables.filter((one) => startsWith(one.path, whole));
        for (const one of within) add(whole, one, unknownVariable(schema, one.name));
        if (within.length === 0) add(whole, setBy(whole, variables), unknownKey(schema, whole));
      }
      continue;
    }
    const value = issue.path.reduce<unknown>(
      (at, step) =>
        typeof at === 'object' && at !== null ? (at as Record<PropertyKey, unknown>)[step] : undefined,
      input,
    );
    // Secrets are not repeated, and an object may hold some.
    const secret = /token|secret|password|key$/i.test(path.join('.')) || typeof value === 'object';
    const text = value === undefined || secret ? '' : JSON.stringify(value);
    const shown = text === '' ? '' : ` (is ${text.replace(/\/\/[^/@]*@/, '//…@').slice(0, 80)})`;
    add(path, setBy(path, variables), `${issue.message}${shown}`);
  }
  const has = sources.size === 1 ? 'has' : 'have';
  const many = lines.length === 1 ? 'a problem' : `${lines.length} problems`;
  return `${[...sources].sort().join(' and ')} ${has} ${many}:\n${lines.join('\n')}`;
}

/** The variable that gave the value at `path`, or what it is in. */
function setBy(path: readonly string[], variables: readonly Variable[]): Variable | undefined {
  return variables.find((one) => startsWith(path, one.path));
}

function startsWith(path: readonly string[], start: readonly string[]): boolean {
  return start.every((step, at) => step === path[at]);
}
