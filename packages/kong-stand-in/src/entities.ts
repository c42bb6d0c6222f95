import { isIP } from 'node:net';
import type { Field, Fields, Values, Violations } from './schema.ts';

const string: Field = { type: 'string' };
const strings: Field = { type: 'array', elements: string };
const plain = (value: string): string | undefined =>
  /^[A-Za-z0-9._~-]+$/.test(value) || /[^ -~]/.test(value)
    ? undefined
    : `invalid value '${value}': the only accepted ascii characters are alphanumerics or ., -, _, and ~`;
/** Kong's rule for names that can stand in a path. */
export const invalidName = plain;

const tags: Field = {
  type: 'set',
  elements: {
    type: 'string',
    check: (tag) =>
      /[,/\n\r\t]/.test(tag)
        ? `invalid tag '${tag}': expected printable ascii (except \`,\` and \`/\`) or valid utf-8 sequences`
        : undefined,
  },
};
const port: Field = { type: 'integer', between: [0, 65535] };
const times: Fields = { created_at: { type: 'integer' }, updated_at: { type: 'integer' } };

export const collections = [
  'services',
  'routes',
  'consumers',
  'plugins',
  'keyauth_credentials',
  'basicauth_credentials',
  'jwt_secrets',
  'acls',
] as const;
export type Collection = (typeof collections)[number];

/** The part of Kong's schemas that the stand-in knows, per kind of entity. The store sets `id` and times. */
export interface EntityKind {
  fields: Fields;
  /** Fields of which no two entities may have the same value; the first is also the name in paths. */
  unique: string[];
  /** At least one of these must be given. */
  atLeastOneOf?: string[];
  /** Kind of the consumer's credential list: `/consumers/{c}/key-auth`. */
  underConsumer?: string;
  /** Path of the list of all: `/key-auths`. */
  path: string;
}

export const entityKinds: Record<Collection, EntityKind> = {
  services: {
    path: 'services',
    unique: ['name'],
    fields: {
      name: { type: 'string', check: plain },
      protocol: { type: 'string', default: 'http' },
      host: { type: 'string', required: true },
      port: { ...port, default: 80 },
      path: string,
      retries: { type: 'integer', default: 5 },
      connect_timeout: { type: 'integer', default: 60000 },
      read_timeout: { type: 'integer', default: 60000 },
      write_timeout: { type: 'integer', default: 60000 },
      tags,
      client_certificate: { type: 'any' },
      ca_certificates: strings,
      tls_verify: { type: 'boolean' },
      tls_verify_depth: { type: 'integer' },
      enabled: { type: 'boolean', default: true },
      ...times,
    },
  },
  routes: {
    path: 'routes',
    unique: ['name'],
    fields: {
      name: { type: 'string', check: plain },
      protocols: { type: 'set', elements: string, default: ['http', 'https'] },
      methods: strings,
      hosts: strings,
      paths: strings,
      headers: { type: 'any' },
      snis: strings,
      sources: { type: 'any' },
      destinations: { type: 'any' },
      https_redirect_status_code: { type: 'integer', default: 426 },
      regex_priority: { type: 'integer', default: 0 },
      strip_path: { type: 'boolean', default: true },
      path_handling: { type: 'string', default: 'v0' },
      preserve_host: { type: 'boolean', default: false },
      request_buffering: { type: 'boolean', default: true },
      response_buffering: { type: 'boolean', default: true },
      service: { type: 'foreign', reference: 'services' },
      tags,
      ...times,
    },
  },
  consumers: {
    path: 'consumers',
    unique: ['username', 'custom_id'],
    atLeastOneOf: ['custom_id', 'username'],
    fields: { username: string, custom_id: string, tags, ...times },
  },
  plugins: {
    path: 'plugins',
    unique: ['instance_name'],
    fields: {
      name: { type: 'string', required: true },
      instance_name: { type: 'string', check: plain },
      enabled: { type: 'boolean', default: true },
      config: { type: 'record', required: true },
      protocols: { type: 'set', elements: string, default: ['grpc', 'grpcs', 'http', 'https'] },
      tags,
      consumer: { type: 'foreign', reference: 'consumers' },
      service: { type: 'foreign', reference: 'services' },
      route: { type: 'foreign', reference: 'routes' },
      ...times,
    },
  },
  keyauth_credentials: {
    path: 'key-auths',
    underConsumer: 'key-auth',
    unique: ['key'],
    fields: {
      key: { type: 'string', required: true },
      ttl: { type: 'integer' },
      consumer: { type: 'foreign', reference: 'consumers', required: true },
      tags,
      created_at: { type: 'integer' },
    },
  },
  basicauth_credentials: {
    path: 'basic-auths',
    underConsumer: 'basic-auth',
    unique: ['username'],
    fields: {
      username: { type: 'string', required: true },
      password: { type: 'string', required: true },
      consumer: { type: 'foreign', reference: 'consumers', required: true },
      tags,
      created_at: { type: 'integer' },
    },
  },
  jwt_secrets: {
    path: 'jwts',
    underConsumer: 'jwt',
    unique: ['key'],
    fields: {
      key: { type: 'string', required: true },
      secret: string,
      algorithm: { type: 'string', default: 'HS256' },
      rsa_public_key: string,
      consumer: { type: 'foreign', reference: 'consumers', required: true },
      tags,
      created_at: { type: 'integer' },
    },
  },
  acls: {
    path: 'acls',
    underConsumer: 'acls',
    unique: [],
    fields: {
      group: { type: 'string', required: true },
      consumer: { type: 'foreign', reference: 'consumers', required: true },
      tags,
      created_at: { type: 'integer' },
    },
  },
};

/** A plugin's own part of the schema. */
export interface PluginKind {
  config: Fields;
  protocols?: string[];
  /** Kong refuses it on a consumer (authentication plugins). */
  notOnConsumer?: true;
  /** Checks across fields, made when every field by itself is right. */
  check?: (config: Values) => Record<string, Violations> | undefined;
}

const periods = ['second', 'minute', 'hour', 'day', 'month', 'year'] as const;
const atLeastOne = (names: readonly string[]): Record<string, Violations> => ({
  '@entity': [
    `at least one of these fields must be non-empty: ${names.map((name) => `'${name}'`).join(', ')}`,
  ],
});
const address = (value: string): string | undefined => {
  const [ip, bits, more] = value.split('/');
  const version = isIP(ip ?? '');
  const max = version === 4 ? 32 : 128;
  const fits =
    version > 0 && more === undefined && (bits === undefined || (/^\d+$/.test(bits) && Number(bits) <= max));
  return fits ? undefined : `invalid ip or cidr range: '${value}'`;
};
const addresses: Field = { type: 'array', elements: { type: 'string', check: address } };
const flag = (value: boolean): Field => ({ type: 'boolean', default: value });

/** The plugins whose configuration is checked. That of other enabled plugins is stored unchecked. */
export const pluginKinds: Record<string, PluginKind> = {
  'tcp-log': {
    config: {
      host: { type: 'string', required: true },
      port: { ...port, required: true },
      timeout: { type: 'number', default: 10000 },
      keepalive: { type: 'number', default: 60000 },
      tls: { type: 'boolean', default: false, required: true },
      tls_sni: string,
      custom_fields_by_lua: { type: 'map' },
    },
  },
  'request-termination': {
    config: {
      status_code: { type: 'integer', between: [100, 599], default: 503, required: true },
      message: string,
      content_type: string,
      body: string,
      echo: flag(false),
      trigger: string,
    },
    check: (config) => {
      if (config['message'] !== null && (config['content_type'] !== null || config['body'] !== null)) {
        return { config: 'message cannot be used with content_type or body' };
      }
      if (config['content_type'] !== null && config['body'] === null) {
        return { config: 'content_type requires a body' };
      }
      return undefined;
    },
  },
  'rate-limiting': {
    config: {
      ...Object.fromEntries(periods.map((period) => [period, { type: 'number' } satisfies Field])),
      limit_by: {
        type: 'string',
        default: 'consumer',
        oneOf: ['consumer', 'credential', 'ip', 'service', 'header', 'path', 'consumer-group'],
      },
      header_name: string,
      path: string,
      policy: { type: 'string', default: 'local', oneOf: ['local', 'cluster', 'redis'] },
      fault_tolerant: flag(true),
      hide_client_headers: flag(false),
      error_code: { type: 'number', default: 429 },
      error_message: { type: 'string', default: 'API rate limit exceeded' },
      sync_rate: { type: 'number', default: -1 },
      redis: {
        type: 'record',
        required: true,
        fields: {
          host: string,
          port: { ...port, default: 6379 },
          timeout: { type: 'integer', default: 2000 },
          username: string,
          password: string,
          database: { type: 'integer', default: 0 },
          ssl: flag(false),
          ssl_verify: flag(false),
          server_name: string,
        },
      },
      redis_host: string,
      redis_port: { ...port, default: 6379 },
      redis_timeout: { type: 'integer', default: 2000 },
      redis_username: string,
      redis_password: string,
      redis_database: { type: 'integer', default: 0 },
      redis_ssl: flag(false),
      redis_ssl_verify: flag(false),
      redis_server_name: string,
    },
    check: (config) => {
      const given = periods.filter((period) => config[period] !== null);
      if (given.length === 0) return atLeastOne(periods.map((period) => `config.${period}`));
      for (const [index, period] of given.entries()) {
        const shorter = given[index - 1];
        if (shorter !== undefined && Number(config[period]) < Number(config[shorter])) {
          const limit = (name: string): string => `limit for ${name}(${Number(config[name]).toFixed(1)})`;
          return { config: `The ${limit(period)} cannot be lower than the ${limit(shorter)}` };
        }
      }
      return undefined;
    },
  },
  'ip-restriction': {
    protocols: ['http', 'https', 'tcp', 'tls', 'grpc', 'grpcs'],
    config: { allow: addresses, deny: addresses, status: { type: 'number' }, message: string },
    check: (config) =>
      [config['allow'], config['deny']].some((list) => Array.isArray(list) && list.length > 0)
        ? undefined
        : atLeastOne(['config.allow', 'config.deny']),
  },
  'key-auth': {
    notOnConsumer: true,
    config: {
      key_names: { type: 'array', elements: string, default: ['apikey'], required: true },
      key_in_header: flag(true),
      key_in_query: flag(true),
      key_in_body: flag(false),
      hide_credentials: flag(false),
      anonymous: string,
      run_on_preflight: flag(true),
      realm: string,
    },
  },
  'basic-auth': {
    notOnConsumer: true,
    config: {
      anonymous: string,
      hide_credentials: flag(false),
      realm: { type: 'string', default: 'service' },
    },
  },
  'correlation-id': {
    config: {
      header_name: { type: 'string', default: 'Kong-Request-ID' },
      generator: { type: 'string', default: 'uuid#counter' },
      echo_downstream: flag(false),
    },
  },
};

/** The answer of the recorded node to `GET /plugins/enabled`. */
export const enabledPlugins = [
  ...[
    'redirect',
    'post-function',
    'azure-functions',
    'zipkin',
    'opentelemetry',
    'jwt',
    'acl',
    'correlation-id',
  ],
  ...['cors', 'oauth2', 'tcp-log', 'udp-log', 'file-log', 'http-log', 'key-auth', 'hmac-auth', 'basic-auth'],
  ...[
    'ip-restriction',
    'request-transformer',
    'response-transformer',
    'request-size-limiting',
    'rate-limiting',
  ],
  ...['response-ratelimiting', 'syslog', 'loggly', 'datadog', 'ldap-auth', 'statsd', 'bot-detection'],
  ...['request-termination', 'prometheus', 'proxy-cache', 'session', 'acme', 'grpc-gateway', 'grpc-web'],
  ...['pre-function', 'standard-webhooks'],
];
