import { randomUUID } from 'node:crypto';
import {
  customFieldPrefix,
  fieldsThatCanFail,
  httpLogPort,
  KongDeniedError,
  KongUnavailableError,
  type KongClient,
  type KongPlugin,
} from '@tripline/kong';
import type { LoadedConfig } from '@tripline/runtime';
import type { CollectorStatus } from '../running.ts';
import { createConfiguredAdmin } from '../configured.ts';
import type { Finding, Subject } from './finding.ts';

/** Is the Admin API of the configuration usable, and does Kong send its lines here? */
export async function* checkAdminApi({ loaded, status }: Subject): AsyncGenerator<Finding> {
  const admin = createConfiguredAdmin(loaded);
  if (!admin) {
    yield {
      level: 'note',
      what: 'Kong: no Admin API is configured, so alerts lead to no blocks',
      advice: 'Set kong.adminUrl in tripline.json, such as "http://localhost:8001".',
    };
    return;
  }
  const ports = portsOf(loaded, (await status())?.collector);
  yield* await checkKong(admin, ports, loaded.config.kong.adminUrl);
  await admin.close();
}

/** Ports that the collector listens on; those that it does not use are undefined. */
export interface CollectorPorts {
  lines: number;
  tls: number | undefined;
  http: number | undefined;
}

/** Is Kong there, may we read and write what we need, and does a logging plugin send here? */
export async function checkKong(
  admin: KongClient,
  ports: CollectorPorts,
  adminUrl: string | undefined,
): Promise<Finding[]> {
  const node = await unlessDenied(admin.node());
  if (node.kind === 'failed') return [{ level: 'fail', what: `Kong: ${node.problem}` }];
  const findings: Finding[] = [];
  if (node.kind === 'done') {
    const { version, hostname } = node.value;
    findings.push({ level: 'ok', what: `Kong: ${version} on ${hostname} answers at ${adminUrl}` });
  } else {
    // What connect and blocks need is asked for below; a role may have just that.
    findings.push({
      level: 'note',
      what: `Kong: answers at ${adminUrl}; the token may not read GET /, so its version and database are not known`,
    });
  }
  if (node.kind === 'done' && node.value.database === 'off') {
    findings.push({
      level: 'warn',
      what: 'Kong: runs without a database (DB-less), so its Admin API cannot attach plugins: alerts only',
      advice:
        'Webhooks work as ever. For blocks, run Kong with a database, or act on the webhooks in your deployment.',
    });
  } else findings.push(await checkWrite(admin));
  const plugins = await unlessDenied(admin.plugins());
  if (plugins.kind !== 'done') {
    findings.push({
      level: 'fail',
      what: `Kong: cannot read plugins: ${plugins.problem}`,
      advice:
        'The role of kong.adminToken needs the permission to read /plugins (and to write them for blocks).',
    });
    return findings;
  }
  const enabled = plugins.value.filter((plugin) => plugin.enabled);
  return [...findings, ...checkLogging(enabled, ports), ...checkCustomFields(enabled, ports)];
}

/** Removing a plugin that never existed changes nothing, and is answered only to those who may write. */
async function checkWrite(admin: KongClient): Promise<Finding> {
  const answer = await unlessDenied(admin.deletePlugin(randomUUID()));
  if (answer.kind !== 'done') {
    return {
      level: 'fail',
      what: `Kong: cannot write plugins: ${answer.problem}`,
      advice: 'The role of kong.adminToken needs the permissions to create, update and delete /plugins.',
    };
  }
  const outcome = answer.value;
  return outcome.kind === 'done'
    ? { level: 'ok', what: 'Kong: the Admin API lets us write' }
    : { level: 'fail', what: `Kong: cannot write: ${outcome.problem}` };
}

/** Does tcp-log or http-log send here? */
function checkLogging(enabled: KongPlugin[], ports: CollectorPorts): Finding[] {
  const show = (list: KongPlugin[]): string =>
    list
      .map(({ name, config }) =>
        name === 'tcp-log'
          ? `${String(config['host'])}:${String(config['port'])}${config['tls'] === true ? ' (TLS)' : ''}`
          : String(config['http_endpoint']).replace(/\/\/[^/@]*@/, '//'),
      )
      .join(', ');
  const findings: Finding[] = [];
  for (const name of ['tcp-log', 'http-log']) {
    const here = enabled.filter((plugin) => plugin.name === name && sendsHere(plugin, ports));
    if (here.length > 0) findings.push({ level: 'ok', what: `${name}: points to ${show(here)}` });
    if (here.length > 1)
      findings.push({
        level: 'note',
        what: `${name}: several plugins point here; duplicated lines are counted once`,
      });
  }
  if (findings.filter(({ level }) => level === 'ok').length > 1)
    findings.push({
      level: 'note',
      what: 'tcp-log and http-log both point here: what both cover comes twice, counts once and costs twice',
      advice: 'Keep http-log, which loses fewer lines, or tcp-log, which costs less.',
    });
  if (findings.length > 0) return findings;
  const elsewhere = enabled.filter(({ name }) => name === 'tcp-log');
  return [
    {
      level: 'fail',
      what:
        elsewhere.length === 0
          ? 'tcp-log: no such plugin is enabled'
          : `tcp-log: points to ${show(elsewhere)}, not to ${wherePorts(ports)}`,
      advice: 'tripline kong connect shows what to do, with --apply it does it.',
    },
  ];
}

function wherePorts({ lines, tls }: CollectorPorts): string {
  return `port ${lines}${tls === undefined ? '' : ` or, with TLS, to port ${tls}`}`;
}

/** An error in a function of `custom_fields_by_lua` loses the whole line, and Kong reports it in its error log only. */
function checkCustomFields(enabled: KongPlugin[], ports: CollectorPorts): Finding[] {
  return enabled
    .filter((plugin) => sendsHere(plugin, ports))
    .flatMap((plugin): Finding[] => {
      const fields = (plugin.config['custom_fields_by_lua'] ?? {}) as Record<string, string>;
      const risky = fieldsThatCanFail(fields);
      const [ours, others] = [true, false].map((own) =>
        risky.filter((name) => name.startsWith(customFieldPrefix) === own),
      ) as [string[], string[]];
      const what = `${plugin.name}: an error in custom_fields_by_lua of plugin ${plugin.id} would lose the whole line:`;
      return [
        ...(ours.length === 0
          ? []
          : [
              {
                level: 'warn' as const,
                what: `${what} ${ours.join(', ')} (of an earlier version of Tripline)`,
                advice: 'tripline kong connect --apply puts those in that cannot fail.',
              },
            ]),
        ...(others.length === 0
          ? []
          : [
              {
                level: 'warn' as const,
                what: `${what} ${others.join(', ')}`,
                advice:
                  'If lines are missing, look for "custom_fields_by_lua" or "sandbox" in the error log of Kong. So that it cannot ' +
                  'happen: local ok, v = pcall(function() <the present code> end); if ok then return v end',
              },
            ]),
      ];
    });
}

function sendsHere(plugin: KongPlugin, ports: CollectorPorts): boolean {
  const { port, tls } = plugin.config;
  if (plugin.name === 'tcp-log')
    return port !== undefined && port === (tls === true ? ports.tls : ports.lines);
  return ports.http !== undefined && httpLogPort(plugin) === ports.http;
}

/** The ports of the running collector, else those of the configuration. */
function portsOf(loaded: LoadedConfig, running: CollectorStatus | undefined): CollectorPorts {
  const { port, tls, http } = loaded.config.collector;
  if (!running) return { lines: port, tls: tls?.port, http: http?.port };
  return { lines: running.port, tls: running.tlsPort ?? undefined, http: running.httpPort ?? undefined };
}

type Asked<Value> =
  | { kind: 'done'; value: Value }
  /** `denied`: Kong is there and knows the token, but its role may not do this (403). */
  | { kind: 'denied' | 'failed'; problem: string };

async function unlessDenied<Value>(answer: Promise<Value>): Promise<Asked<Value>> {
  try {
    return { kind: 'done', value: await answer };
  } catch (error) {
    if (error instanceof KongUnavailableError) return { kind: 'failed', problem: error.message };
    if (!(error instanceof KongDeniedError)) throw error;
    // 401 is an answer to the token as such: nothing else would be answered either.
    return { kind: / with 401: /.test(error.message) ? 'failed' : 'denied', problem: error.message };
  }
}
