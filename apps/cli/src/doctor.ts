import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { forgeryProblems, type ChannelStatus } from '@tripline/app-responder';
import {
  customFieldPrefix,
  fieldsThatCanFail,
  httpLogPort,
  KongDeniedError,
  KongUnavailableError,
  type KongClient,
  type KongPlugin,
} from '@tripline/kong';
import { alertTypes } from '@tripline/detection';
import { actions as allActions, parsePolicies } from '@tripline/policy';
import { createLogger, resolvePath, type LoadedConfig } from '@tripline/runtime';
import { readOptions } from './options.ts';
import { createBackends, isEmbedded } from './backends.ts';
import { mindDataFiles } from './data-files.ts';
import { askRunning, runningUrl, type CollectorStatus, type Status } from './running.ts';
import { createConfiguredAdmin } from './system.ts';
import { checkWhoActs } from './who-acts.ts';

/** How a check came out; `note` is for what is fine but worth knowing. */
export interface Finding {
  level: 'ok' | 'note' | 'warn' | 'fail';
  what: string;
  /** What to do about it. */
  advice?: string;
}

/** `tripline doctor`: exit status 1 if anything fails. */
export async function doctor(args: string[]): Promise<number> {
  const { loaded } = readOptions(args, {});
  const findings: Finding[] = [];
  const tell = (...found: Finding[]): void => {
    for (const { level, what, advice } of found) {
      process.stdout.write(
        `${level.toUpperCase().padEnd(5)} ${what}\n${advice === undefined ? '' : `      ${advice}\n`}`,
      );
    }
    findings.push(...found);
  };
  tell({ level: 'ok', what: `configuration: ${loaded.file ?? 'defaults (no tripline.json here)'}` });
  tell(...checkPolicies(loaded));
  if (isEmbedded(loaded.config)) tell(await checkDisk(loaded), await checkDataFiles(loaded));
  await checkServers(loaded, tell);
  const status = await askRunning<Status>(loaded, 'GET', '/status');
  const lines = status?.collector;
  if (status && lines) {
    tell(...checkLines(status.now, lines), ...checkWhoActs(lines.observations.services));
    tell(...checkAddresses(lines), checkClock(lines), ...checkLag(status));
  } else if (status) {
    tell(...checkLag(status), {
      level: 'note',
      what: `lines, addresses and clock: the roles at ${runningUrl(loaded)} see none of them`,
      advice: 'Run doctor with the configuration of a collector for those.',
    });
  } else {
    tell({
      level: 'fail',
      what: `no Tripline answers at ${runningUrl(loaded)}: lines, addresses and clock cannot be checked`,
      advice: 'Start it with npm start, or give its configuration with --config.',
    });
  }
  if (status?.webhooks) tell(...checkWebhooks(status.webhooks));
  const admin = createConfiguredAdmin(loaded);
  if (admin) {
    tell(...(await checkKong(admin, portsOf(loaded, lines), loaded.config.kong.adminUrl)));
    await admin.close();
  } else {
    tell({
      level: 'note',
      what: 'Kong: no Admin API is configured, so alerts lead to no blocks',
      advice: 'Set kong.adminUrl in tripline.json, such as "http://localhost:8001".',
    });
  }
  const failed = findings.filter((one) => one.level === 'fail').length;
  const warned = findings.filter((one) => one.level === 'warn').length;
  process.stdout.write(
    failed + warned === 0 ? '\nAll is well.\n' : `\n${failed} failed, ${warned} to look at.\n`,
  );
  return failed > 0 ? 1 : 0;
}

/** Those of the running collector, else those of the configuration. */
function portsOf(loaded: LoadedConfig, running: CollectorStatus | undefined): CollectorPorts {
  const { port, tls, http } = loaded.config.collector;
  if (!running) return { lines: port, tls: tls?.port, http: http?.port };
  return { lines: running.port, tls: running.tlsPort ?? undefined, http: running.httpPort ?? undefined };
}

function checkPolicies(loaded: LoadedConfig): Finding[] {
  const path = resolvePath(loaded, loaded.config.policiesFile);
  if (!existsSync(path))
    return [{ level: 'note', what: `policies: there is no ${path}, so alerts lead to no responses` }];
  const text = readFileSync(path, 'utf8');
  const parsed = parsePolicies(text, { alertTypes });
  if (!parsed.ok) {
    const { length } = parsed.problems;
    const first = parsed.problems[0]!;
    return [
      {
        level: 'fail',
        what: `policies: ${path} has ${length === 1 ? 'a problem' : `${length} problems`}, first line ${first.line}: ${first.path} ${first.message}`,
        advice: `tripline policies check ${path}`,
      },
    ];
  }
  const { policies } = parsed.policies;
  const findings: Finding[] = [{ level: 'ok', what: `policies: ${policies.length} in ${path}` }];
  for (const one of forgeryProblems(text, parsed.policies, loaded.config.collector))
    findings.push({ level: 'fail', what: `policies: line ${one.line}: ${one.path} ${one.message}` });
  const known = loaded.config.webhooks.map(({ id }) => id);
  for (const { id, actions } of policies) {
    for (const action of actions) {
      const channel = allActions.channelOf(action);
      if (channel === undefined || known.includes(channel)) continue;
      findings.push({
        level: 'warn',
        what: `policies: ${id} notifies nobody: there is no webhook ${channel}`,
        advice: `Add it to webhooks in tripline.json; there ${known.length === 1 ? 'is' : 'are'} ${known.join(', ') || 'none'}.`,
      });
    }
  }
  return findings;
}

const gigabyte = 2 ** 30;

async function checkDisk(loaded: LoadedConfig): Promise<Finding> {
  const dataDir = resolvePath(loaded, loaded.config.dataDir);
  const { bavail, bsize, blocks } = await statfs(existsSync(dataDir) ? dataDir : loaded.baseDir);
  const free = bavail * bsize;
  const what = `disk: ${(free / gigabyte).toFixed(1)} GB free for ${dataDir}`;
  if (free < gigabyte) {
    return {
      level: 'fail',
      what,
      advice: 'When it is full, lines are dropped. Free some, or lower lake.retentionDays.',
    };
  }
  return free < blocks * bsize * 0.05 || free < loaded.config.bus.maxBytes
    ? { level: 'warn', what, advice: 'Little for the log of the bus (bus.maxBytes) and the lake.' }
    : { level: 'ok', what };
}

/** Can the embedded bus and states be read through? */
async function checkDataFiles(loaded: LoadedConfig): Promise<Finding> {
  try {
    await mindDataFiles(resolvePath(loaded, loaded.config.dataDir), (text) =>
      process.stderr.write(`${text}\n`),
    );
    return { level: 'ok', what: 'data files: the bus and the states can be read through' };
  } catch (error) {
    const [what, ...advice] = (error as Error).message.split('\n');
    return { level: 'fail', what: `data files: ${what}`, advice: advice.join('\n      ') };
  }
}

const answerWithinMs = 10_000;

/** Do the configured Kafka, Redis and ClickHouse answer? Each is told as soon as it is known. */
async function checkServers(loaded: LoadedConfig, tell: (finding: Finding) => void): Promise<void> {
  const { bus, state, lake } = loaded.config;
  const logger = createLogger({ level: 'silent', pretty: false });
  const dataDir = resolvePath(loaded, loaded.config.dataDir);
  const backends = createBackends({ loaded, dataDir, logger, now: Date.now });
  const check = async (what: string, work: () => Promise<string>): Promise<void> => {
    try {
      tell({ level: 'ok', what: `${what}: ${await work()}` });
    } catch (error) {
      tell({ level: 'fail', what: `${what}: ${(error as Error).message}` });
    }
  };
  if (bus.kafka) {
    const { brokers, topicPrefix } = bus.kafka;
    await check('Kafka', async () => {
      const kafka = await backends.bus();
      const end = Date.now() + answerWithinMs;
      await kafka.lag();
      if (kafka.problem() !== null)
        process.stderr.write(`Kafka does not answer yet; waiting up to ${answerWithinMs / 1_000} s.\n`);
      for (await kafka.lag(); kafka.problem() !== null && Date.now() < end; await kafka.lag())
        await sleep(200);
      const problem = kafka.problem();
      if (problem !== null) throw new Error(problem);
      return `answers at ${brokers.join(', ')}, ${kafka.partitions} partitions of ${topicPrefix}api-calls`;
    });
  }
  if (state.redis) {
    const where = state.redis.url?.replace(/\/\/[^@/]*@/, '//') ?? state.redis.cluster?.join(', ') ?? '';
    await check('Redis', async () => {
      const { keys } = await (await backends.state('processor')).size();
      return `answers at ${where}, ${keys} states of the processors`;
    });
  }
  if (lake.enabled && lake.clickhouse) {
    const { url } = lake.clickhouse;
    await check('ClickHouse', async () => {
      const [row] = await (await backends.lake()).query<{ version: string }>('SELECT version() AS version');
      return `${row?.version ?? '?'} answers at ${url}`;
    });
  }
  await backends.close();
}

/** Do lines arrive, and are they accepted? */
export function checkLines(nowMs: number, collector: CollectorStatus): Finding[] {
  const { accounting, observations } = collector;
  const { received, restored, published, streamSessions, returned, spooled, inFlight } = accounting;
  const sum = (counts: Record<string, number>): number =>
    Object.values(counts).reduce((all, one) => all + one, 0);
  const list = (counts: Record<string, number>): string =>
    Object.entries(counts)
      .map(([reason, count]) => `${reason} ${count}`)
      .join(', ');
  const rejected = sum(accounting.rejected);
  const dropped = sum(accounting.dropped);
  const findings: Finding[] = [];
  if (received === 0) {
    findings.push({
      level: 'fail',
      what: `lines: none has come to port ${collector.port}`,
      advice:
        'Is the tcp-log or http-log plugin there (below), and can Kong reach this address? See tripline kong connect.',
    });
    return findings;
  }
  const age = observations.lastLineAt === undefined ? undefined : nowMs - observations.lastLineAt;
  const when = age === undefined ? 'none accepted yet' : `the last one ${inWords(age)} ago`;
  findings.push({
    level: age !== undefined && age < 300_000 ? 'ok' : 'warn',
    what:
      `lines: ${received} received${also(restored, 'from the spool of an earlier process')} = ${published} published + ` +
      `${rejected} rejected + ${dropped} dropped${also(streamSessions, 'stream sessions')}${also(returned, 'sent back to Kong')}${also(spooled, 'in the spool')} + ` +
      `${inFlight} under way; ${when}`,
    ...(age !== undefined && age < 300_000
      ? {}
      : { advice: 'Is there traffic on Kong? Does its error log name tcp-log?' }),
  });
  if (streamSessions > 0) {
    findings.push({
      level: 'note',
      what: `stream sessions: ${streamSessions} lines are of TCP or TLS routes, which Tripline does not look into`,
      advice: 'Nothing is wrong. To save them, take tcp and tls out of the protocols of the plugin in Kong.',
    });
  }
  if (spooled > 0) {
    findings.push({
      level: 'warn',
      what: `spool: ${spooled} lines wait on disk`,
      advice:
        'The bus does not answer, is full or not fast enough: see the disk and Kafka above, lag below, and /readyz. They are published when it takes them.',
    });
  }
  if (rejected > 0) {
    const token = accounting.rejected['missing-token'] ?? accounting.rejected['wrong-token'];
    findings.push({
      level: rejected > received / 100 ? 'warn' : 'note',
      what: `rejected: ${list(accounting.rejected)}`,
      advice: token
        ? 'The token of collector.token is not in the lines: tripline kong connect --apply.'
        : 'Samples, sanitised, are in the topic dead-letters.',
    });
  }
  if (dropped > 0) {
    findings.push({
      level: 'warn',
      what: `dropped: ${list(accounting.dropped)}`,
      advice: 'Good lines were lost: see disk and lag.',
    });
  }
  return findings;
}

function also(count: number, what: string): string {
  return count === 0 ? '' : ` + ${count} ${what}`;
}

/** Are the client addresses those of clients, or all a load balancer's? */
export function checkAddresses(collector: CollectorStatus): Finding[] {
  const { clients } = collector.observations;
  if (clients.lines < 100)
    return [
      { level: 'note', what: `client addresses: only ${clients.lines} lines so far, too few to judge` },
    ];
  const share = `${Math.round(clients.topShare * 100)} % of ${clients.lines} lines are from ${clients.top ?? '?'}`;
  const what = `client addresses: ${clients.distinct} different, ${share}`;
  const advice =
    "Kong probably shows its load balancer's address: set trusted_ips and real_ip_header in kong.conf. Until then detectors cannot tell clients apart by address.";
  if (clients.topShare > 0.9 || clients.privateShare > 0.95) return [{ level: 'warn', what, advice }];
  // As impossible travel and credential sharing see it, over the last lines of all services.
  if (clients.topPlaceShare >= 0.95 && clients.topPlaceActors >= 15) {
    return [
      {
        level: 'warn',
        what: `client addresses: ${Math.round(clients.topPlaceShare * 100)} % of the located lines, of ${clients.topPlaceActors} actors, are from ${clients.topPlace ?? '?'}`,
        advice:
          'Impossible travel and credential sharing rest on a service whose clients are all seen at one place. If that is a proxy or CDN, set trusted_ips and real_ip_header in kong.conf.',
      },
    ];
  }
  return [{ level: 'ok', what }];
}

function inWords(ms: number): string {
  const units: [string, number][] = [
    ['days', 86_400_000],
    ['h', 3_600_000],
    ['min', 60_000],
    ['s', 1_000],
  ];
  const [unit, length] = units.find(([, length]) => ms >= 2 * length) ?? ['ms', 1];
  return `${Math.round(ms / length)} ${unit}`;
}

/** Do Kong's clock and ours agree? A line comes within moments of the end of its request. */
export function checkClock(collector: CollectorStatus): Finding {
  const offset = collector.observations.clockOffsetMs;
  if (offset === undefined) return { level: 'note', what: 'clock: no line to compare with' };
  const what = `clock: lines come at best ${inWords(offset)} after Kong's time of them`;
  const advice =
    'The clocks of Kong and of this machine differ: run NTP on both. Times ahead by more than collector.maxAheadMs are refused.';
  if (offset < -2_000)
    return { level: 'warn', what: `clock: Kong's clock is ${inWords(-offset)} ahead`, advice };
  return offset > 60_000
    ? { level: 'warn', what, advice: `${advice} Or the lines are old.` }
    : { level: 'ok', what };
}

export function checkLag(status: Status): Finding[] {
  const findings = status.lag.flatMap((row): Finding[] => [
    ...(row.records > 100_000
      ? [
          {
            level: 'warn' as const,
            what: `lag: ${row.group} is ${row.records} records behind on ${row.topic}`,
          },
        ]
      : []),
    ...(row.lost === undefined
      ? []
      : [
          {
            level: 'warn' as const,
            what: `lost: ${row.group} was so far behind on ${row.topic} that ${row.lost} records were let go before it read them`,
            advice:
              row.group === 'archiver'
                ? 'The lake has a gap. Is it reachable and fast enough (/readyz)? A larger bus.maxBytes bridges longer outages.'
                : 'What read too slowly missed them: see /readyz. A larger bus.maxBytes bridges longer outages.',
          },
        ]),
  ]);
  return findings.length > 0 ? findings : [{ level: 'ok', what: 'lag: every role keeps up' }];
}

/** Are webhooks delivered? */
export function checkWebhooks(webhooks: readonly ChannelStatus[]): Finding[] {
  return webhooks.flatMap(({ channel, problem, waiting, collecting, deadLetters, lastDeadLetter }) => {
    const findings: Finding[] = [];
    if (problem !== null) {
      findings.push({
        level: 'warn',
        what: `webhooks: ${problem}; ${waiting} messages wait, ${collecting} are counted for the next digests`,
        advice: 'Others are not delayed. Each message is tried for a day, one that is refused four times.',
      });
    }
    if (lastDeadLetter) {
      const at = new Date(lastDeadLetter.at).toISOString();
      findings.push({
        level: 'warn',
        what: `webhooks: ${deadLetters} messages to ${channel} were given up since the start, the last at ${at}: ${lastDeadLetter.detail}`,
        advice: 'They are in the topic dead-letters, their alerts in the lake. Mend the receiver or its URL.',
      });
    }
    return findings.length > 0 ? findings : [{ level: 'ok', what: `webhooks: ${channel} takes messages` }];
  });
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

function sendsHere(plugin: KongPlugin, ports: CollectorPorts): boolean {
  const { port, tls } = plugin.config;
  if (plugin.name === 'tcp-log')
    return port !== undefined && port === (tls === true ? ports.tls : ports.lines);
  return ports.http !== undefined && httpLogPort(plugin) === ports.http;
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

/** An error in a function of `custom_fields_by_lua` loses the whole line, and Kong tells of it in its error log only. */
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
