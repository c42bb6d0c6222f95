import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import type { KongAdmin, KongPlugin, KongPluginInput, WriteOutcome } from '../admin/admin-api.ts';
import { customFieldPrefix, customFieldsByLua } from './custom-fields.ts';

/** What Kong's tcp-log plugin shall look like. */
export interface ConnectSettings {
  /** Host name or address of the collector as Kong reaches it. */
  collectorHost: string;
  collectorPort: number;
  /** Kong encrypts. It verifies no certificate unless `verify` says so: nobody reads along, but who receives is not proved. */
  tls: boolean;
  /** Name that Kong asks for in the TLS handshake (`tls_sni`). Left out: what the plugin has stays. */
  tlsSni?: string;
  /** Kong verifies the collector's certificate (`ssl_verify`, Kong 3.13 and later). Left out: what the plugin has stays. */
  verify?: boolean;
  /** Where the collector takes what http-log posts: a plugin that posts there takes the place of tcp-log. */
  httpPort?: number;
  /** 1 to 200 of `A-Za-z0-9._~+/=-`. */
  token?: string;
  /** The same alphabet. */
  fingerprintKey?: string;
  /** Claim of a JSON Web Token whose fingerprint lines carry; see `claimExpression`. */
  claim?: string;
  /** Enterprise workspace that the plugin is in. */
  workspace?: string;
}

/** A field that would change, ready to be shown: secrets are masked. */
export interface FieldChange {
  field: string;
  before: string;
  after: string;
}

/** Plugins are named with scope and id; `plugin` and `change` hold the secrets and are not for showing. */
export type ConnectPlan = {
  settings: ConnectSettings;
  others: KongPlugin[];
  /** http-log plugins that post to the collector besides: what they and the plugin of the plan cover comes twice. */
  twice: KongPlugin[];
} & (
  | { kind: 'create'; id: string; plugin: KongPluginInput }
  | { kind: 'change'; existing: KongPlugin; change: Partial<KongPluginInput>; changes: FieldChange[] }
  | { kind: 'nothing'; existing: KongPlugin }
  /** Several tcp-log plugins are tagged `tripline`: which one is meant is the operator's to say. */
  | { kind: 'ambiguous'; candidates: KongPlugin[] }
  /** An http-log plugin of the operator's sends to the collector already; `lacks` names custom fields that it needs. */
  | { kind: 'http-log'; by: KongPlugin; lacks: string[] }
  /** An operator's own global tcp-log plugin holds the only place that Kong has for one. */
  | { kind: 'occupied'; by: KongPlugin; pointsHere: boolean }
);

export const triplineTag = 'tripline';
export const pluginName = 'tcp-log';

/** The statement about the fingerprint key that goes with every plan that installs it. */
export const whoCanReadTheKey =
  'The token and the fingerprint key stand in the configuration of the plugin. Whoever may read plugin configuration can ' +
  "read them: through Kong's Admin API (or Kong Manager), in Kong's database, and in decK dumps and backups of it. With " +
  'the key one can test guesses of user names and credentials against fingerprints; no fingerprint can be reversed ' +
  'without guessing. Use a key made for this purpose only.';

/** The uuid of the plugin that Tripline makes: the same each time, so that repeating never makes a second one. */
export function connectPluginId(workspace?: string): string {
  const hash = createHash('sha1')
    .update(`tripline/kong/tcp-log/${workspace ?? ''}`)
    .digest();
  hash[6] = (hash[6]! & 0x0f) | 0x50;
  hash[8] = (hash[8]! & 0x3f) | 0x80;
  const hex = hash.toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join(
    '-',
  );
}

/**
 * Compares what is wanted with the plugins that Kong has (all of them). Pure. Touches only a tcp-log plugin that carries
 * the tag `tripline`, in it only address, TLS, `enabled` and the custom fields `tripline.*`; everything else of it and
 * every other tcp-log plugin (`others`) is left alone. Where a global http-log plugin posts to the collector already, no
 * tcp-log plugin is made beside it: if it carries the tag, its custom fields are kept up to date instead. Throws an `Error` that lists what is wrong with the settings.
 */
export function planConnect(settings: ConnectSettings, plugins: KongPlugin[]): ConnectPlan {
  checkSettings(settings);
  const tcpLogs = plugins.filter((plugin) => plugin.name === pluginName);
  const ours = tcpLogs.filter((plugin) => plugin.tags?.includes(triplineTag));
  const others = tcpLogs.filter((plugin) => !ours.includes(plugin));
  const httpLogs = plugins.filter((plugin) => postsHere(plugin, settings.httpPort));
  const httpLog = httpLogs.find(isGlobal);
  const instead = ours.length === 0 ? httpLog : undefined;
  const base = { settings, others, twice: httpLogs.filter((plugin) => plugin !== instead) };

  const [existing, ...more] = instead?.tags?.includes(triplineTag) ? [instead] : ours;
  if (existing && more.length > 0) return { ...base, kind: 'ambiguous', candidates: ours };
  if (existing) {
    const { change, changes } = difference(settings, existing);
    return changes.length === 0
      ? { ...base, kind: 'nothing', existing }
      : { ...base, kind: 'change', existing, change, changes };
  }
  if (instead) {
    const present = (instead.config['custom_fields_by_lua'] ?? {}) as Record<string, string>;
    const needed = Object.entries(customFieldsByLua(settings) ?? {});
    const lacks = needed.filter(([name, lua]) => present[name] !== lua).map(([name]) => name);
    return { ...base, kind: 'http-log', by: instead, lacks };
  }
  // Kong has one place per plugin and scope; our own id without our tag means that an operator took it over.
  const id = connectPluginId(settings.workspace);
  const by = others.find((plugin) => isGlobal(plugin)) ?? plugins.find((plugin) => plugin.id === id);
  if (by) {
    const { host, port } = by.config;
    const pointsHere =
      by.name === pluginName && host === settings.collectorHost && port === settings.collectorPort;
    return { ...base, kind: 'occupied', by, pointsHere };
  }
  const config = wantedConfig(settings, {});
  return { ...base, kind: 'create', id, plugin: { name: pluginName, config, tags: [triplineTag] } };
}

/** Carries the plan out; `nothing`, `ambiguous`, `http-log` and `occupied` change nothing. Throws what `KongAdmin` throws. */
export async function applyConnectPlan(
  admin: KongAdmin,
  plan: ConnectPlan,
): Promise<WriteOutcome | { kind: 'unchanged' }> {
  if (plan.kind === 'create') return admin.putPlugin(plan.id, plan.plugin);
  if (plan.kind === 'change') return admin.patchPlugin(plan.existing.id, plan.change);
  return { kind: 'unchanged' };
}

/** The plan for people, secrets masked, with a line feed at the end. */
export function describeConnectPlan(plan: ConnectPlan): string {
  const { settings } = plan;
  const tcpTarget = `${settings.collectorHost}:${settings.collectorPort}${settings.tls ? ' (TLS)' : ''}`;
  const lines: string[] = [];
  switch (plan.kind) {
    case 'create':
      lines.push(
        `Create a global tcp-log plugin (${plan.id}, tag ${triplineTag}) that sends to ${tcpTarget}:`,
      );
      lines.push(
        ...rows(difference(settings, emptyPlugin(plan.id)).changes.map(({ field, after }) => [field, after])),
      );
      break;
    case 'change':
      lines.push(`Change the ${nameOf(plan.existing)}:`);
      lines.push(...rows(plan.changes.map(({ field, before, after }) => [field, `${before}  ->  ${after}`])));
      break;
    case 'nothing':
      lines.push(
        `Nothing to do: the ${nameOf(plan.existing)} sends to ` +
          `${plan.existing.name === pluginName ? tcpTarget : addressOf(plan.existing)} as wanted.`,
      );
      break;
    case 'http-log':
      lines.push(...httpLogText(plan.by, plan.lacks));
      break;
    case 'ambiguous':
      lines.push(
        `Not clear which plugin to set up: ${plan.candidates.length} tcp-log plugins are tagged "${triplineTag}".`,
        ...plan.candidates.map((plugin) => `  ${nameOf(plugin)} -> ${addressOf(plugin)}`),
        `Take the tag off all but one (or remove the others), then run this again. Nothing was changed.`,
      );
      break;
    case 'occupied':
      lines.push(...occupiedText(plan.by, plan.pointsHere));
  }
  const left = plan.kind === 'occupied' ? plan.others.filter((plugin) => plugin !== plan.by) : plan.others;
  if (left.length > 0) {
    lines.push(
      '',
      `Left alone, not Tripline's:`,
      ...left.map((plugin) => `  ${nameOf(plugin)} -> ${addressOf(plugin)}`),
    );
    if (plan.kind !== 'occupied' && left.some((plugin) => !isGlobal(plugin))) {
      lines.push(
        '  Kong runs only the most specific tcp-log plugin of a request: what these cover does not reach Tripline.',
      );
    }
  }
  if (plan.twice.length > 0) {
    lines.push(
      '',
      'Sends to this collector as well. What both cover comes twice, counts once and costs twice: keep one of them.',
      ...plan.twice.map((plugin) => `  ${nameOf(plugin)} -> ${addressOf(plugin)}`),
    );
  }
  if (plan.kind === 'create' || plan.kind === 'change') {
    if (settings.token !== undefined || settings.fingerprintKey !== undefined)
      lines.push('', ...wrap(whoCanReadTheKey));
    lines.push('', 'Kong takes up to 10 seconds until the change reaches its traffic.');
  }
  return `${lines.join('\n')}\n`;
}

// ---- comparing ----

interface Config {
  host?: unknown;
  port?: unknown;
  tls?: unknown;
  tls_sni?: unknown;
  ssl_verify?: unknown;
  custom_fields_by_lua?: unknown;
}

/** @param present custom fields that the plugin has; those that are not ours stay. */
function wantedConfig(settings: ConnectSettings, present: Record<string, string>): Record<string, unknown> {
  const kept = Object.entries(present).filter(([name]) => !name.startsWith(customFieldPrefix));
  const fields = { ...Object.fromEntries(kept), ...customFieldsByLua(settings) };
  const custom = Object.keys(fields).length > 0 ? { custom_fields_by_lua: fields } : {};
  return {
    host: settings.collectorHost,
    port: settings.collectorPort,
    tls: settings.tls,
    ...(settings.tlsSni === undefined ? {} : { tls_sni: settings.tlsSni }),
    ...(settings.verify ? { ssl_verify: true } : {}),
    ...custom,
  };
}

function difference(
  settings: ConnectSettings,
  existing: KongPlugin,
): { change: Partial<KongPluginInput>; changes: FieldChange[] } {
  const present = existing.config as Config;
  const presentFields = (present.custom_fields_by_lua ?? {}) as Record<string, string>;
  const wanted = wantedConfig(settings, presentFields);
  const wantedFields = (wanted['custom_fields_by_lua'] ?? {}) as Record<string, string>;

  const changes: FieldChange[] = [];
  const config: Record<string, unknown> = {};
  for (const field of ['host', 'port', 'tls', 'tls_sni', 'ssl_verify'] as const) {
    // Of an http-log plugin only the custom fields are ours; what is not wanted stays as it is.
    if (existing.name !== pluginName || !(field in wanted) || present[field] === wanted[field]) continue;
    config[field] = wanted[field];
    changes.push({ field: `config.${field}`, before: asText(present[field]), after: asText(wanted[field]) });
  }
  if (!isDeepStrictEqual({ ...presentFields }, wantedFields)) {
    // Kong replaces the map as a whole.
    config['custom_fields_by_lua'] = Object.keys(wantedFields).length > 0 ? wantedFields : null;
    for (const name of new Set([...Object.keys(presentFields), ...Object.keys(wantedFields)])) {
      const [before, after] = [presentFields[name], wantedFields[name]];
      if (before === after) continue;
      const field = `config.custom_fields_by_lua["${name}"]`;
      changes.push({ field, before: masked(name, before), after: masked(name, after, before) });
    }
  }
  const enabled = existing.enabled ? {} : { enabled: true };
  if (!existing.enabled) changes.push({ field: 'enabled', before: 'false', after: 'true' });
  return { change: { ...(Object.keys(config).length > 0 ? { config } : {}), ...enabled }, changes };
}

const asText = (value: unknown): string =>
  value === undefined || value === null ? 'not set' : JSON.stringify(value);

/** Says that an expression is there, not what stands in it: it may hold a token or key, also an old one. */
function masked(name: string, lua: string | undefined, before?: string): string {
  if (lua === undefined) return 'not set';
  const what = name === 'tripline.token' ? 'token' : `${name.slice(customFieldPrefix.length)} fingerprint`;
  return before === undefined ? `${what} (hidden)` : `${what} (hidden), another one`;
}

const emptyPlugin = (id: string): KongPlugin => ({
  id,
  name: pluginName,
  instance_name: null,
  enabled: true,
  config: {},
  tags: [triplineTag],
  consumer: null,
  service: null,
  route: null,
  protocols: [],
  created_at: 0,
});

export function checkSettings(settings: ConnectSettings): void {
  const problems: string[] = [];
  const { collectorHost, collectorPort } = settings;
  if (!/^[A-Za-z0-9._:-]{1,255}$/.test(collectorHost)) {
    problems.push(
      `collectorHost: "${collectorHost}" is no host name or address (letters, digits and . _ - : are allowed).`,
    );
  }
  if (!Number.isInteger(collectorPort) || collectorPort < 1 || collectorPort > 65_535) {
    problems.push(`collectorPort: ${collectorPort} is no port. Allowed: 1 to 65535.`);
  }
  const { tls, tlsSni, verify } = settings;
  if (tlsSni !== undefined && !/^[A-Za-z0-9._-]{1,253}$/.test(tlsSni)) {
    problems.push(`tlsSni: "${tlsSni}" is no host name (letters, digits and . _ - are allowed).`);
  }
  if (!tls && (tlsSni !== undefined || verify)) problems.push('tlsSni and verify say something of TLS only.');
  try {
    customFieldsByLua(settings);
  } catch (problem) {
    problems.push((problem as Error).message);
  }
  if (problems.length > 0) throw new Error(problems.join('\n'));
}

// ---- words ----

const isGlobal = (plugin: KongPlugin): boolean => !plugin.consumer && !plugin.service && !plugin.route;

function nameOf(plugin: KongPlugin): string {
  const scopes = (['consumer', 'route', 'service'] as const).flatMap((scope) => {
    const key = plugin[scope];
    return key ? [`${scope} ${key.id}`] : [];
  });
  const scope = scopes.length > 0 ? `of ${scopes.join(', ')}` : 'global';
  return `${plugin.name} plugin ${plugin.instance_name ?? plugin.id} (${scope}${plugin.enabled ? '' : ', disabled'})`;
}

function addressOf(plugin: KongPlugin): string {
  const { host, port, http_endpoint: endpoint } = plugin.config;
  if (plugin.name === 'http-log') return withoutPassword(endpoint);
  return `${String(host)}:${String(port)}`;
}

/** The port that an http-log plugin posts to; undefined for other plugins. */
export function httpLogPort(plugin: KongPlugin): number | undefined {
  const endpoint = plugin.config['http_endpoint'];
  if (plugin.name !== 'http-log' || typeof endpoint !== 'string' || !URL.canParse(endpoint)) return undefined;
  const { port, protocol } = new URL(endpoint);
  return port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port);
}

function postsHere(plugin: KongPlugin, httpPort: number | undefined): boolean {
  return plugin.enabled && httpPort !== undefined && httpLogPort(plugin) === httpPort;
}

/** Kong takes a user name and password in the URL of http-log. */
function withoutPassword(endpoint: unknown): string {
  return String(endpoint).replace(/\/\/[^/@]*@/, '//');
}

function httpLogText(by: KongPlugin, lacks: string[]): string[] {
  const tagged = [...(by.tags ?? []), triplineTag];
  return [
    `The ${nameOf(by)} sends to this collector already (${addressOf(by)}).`,
    'A tcp-log plugin beside it would send each line twice, so none was made. To use tcp-log instead, disable this one first.',
    ...(lacks.length === 0
      ? []
      : [
          `It lacks custom fields, or has others than wanted: ${lacks.join(', ')}.`,
          `To let Tripline keep them up to date, tag it: PATCH /plugins/${by.id} {"tags":${JSON.stringify(tagged)}}, then run this again.`,
        ]),
  ];
}

function occupiedText(by: KongPlugin, pointsHere: boolean): string[] {
  const tagged = [...(by.tags ?? []), triplineTag];
  const takeOver = `PATCH /plugins/${by.id} {"tags":${JSON.stringify(tagged)}}`;
  if (pointsHere) {
    return [
      `The ${nameOf(by)} sends to this collector already, but is not tagged "${triplineTag}", so it is not touched.`,
      `To let Tripline keep it up to date (token, fingerprints), tag it: ${takeOver}`,
    ];
  }
  return [
    `Cannot create the plugin: Kong allows one global tcp-log plugin, and the ${nameOf(by)}`,
    `that sends to ${addressOf(by)} is not Tripline's (it lacks the tag "${triplineTag}"). It was not touched. Either`,
    `  - give it to Tripline, if nothing else needs it: ${takeOver}, then run this again; or`,
    `  - let what receives it now pass every line on to the collector; or`,
    `  - replace it by another logging plugin (http-log, udp-log, file-log) for its present purpose.`,
  ];
}

function rows(pairs: [string, string][]): string[] {
  const width = Math.max(...pairs.map(([name]) => name.length));
  return pairs.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`);
}

function wrap(text: string, width = 100): string[] {
  const lines = [''];
  for (const word of text.split(' ')) {
    const last = lines.at(-1)!;
    if (last !== '' && last.length + word.length >= width) lines.push(word);
    else lines[lines.length - 1] = last === '' ? word : `${last} ${word}`;
  }
  return lines;
}
