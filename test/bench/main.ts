import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { cpus, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createNormaliser, createTemplateLearner, lineOf } from '@tripline/kong';
import { defaultSeed, startKongStandIn } from '@tripline/kong-stand-in';
import { pluginId } from '@tripline/policy';
import { configSchema, createLogger, type LoadedConfig } from '@tripline/runtime';
import { createSanitizer } from '@tripline/sanitize';
import { startSystem, type System } from '../../apps/cli/src/system.ts';
import { detectorCosts } from './detectors.ts';

/**
 * Five figures, each as a ratio or against the CPU time of the same run:
 * (a) JSON.parse alone over the recorded lines, (b) parse + normalise + sanitise + encode of the same lines, (c) the whole
 * embedded pipeline from socket to lake in lines per CPU-second of the whole process, (d) time from the line that tips the
 * balance to the Admin API call, at half of the highest rate; and (e) what each detector costs, against all of them.
 */
const json = process.argv.includes('--json');
const say = (text: string): void => void (json ? process.stderr : process.stdout).write(`${text}\n`);

const fixtures = resolve('test/fixtures/tcp-log');
const recorded = readdirSync(fixtures)
  .filter((name) => name.endsWith('.ndjson'))
  .flatMap((name) => readFileSync(join(fixtures, name)).toString('latin1').split('\n').slice(0, -1));
const warmUpLines = 60_000;
const pipelineLines = 200_000;

function cpuSeconds(since?: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(since);
  return (user + system) / 1e6;
}

function median(values: number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

function quantile(values: number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))]!;
}

/** (a) and (b), in turns, so that both meet the same moments of the machine. */
function ingestRatio(): { parseMicros: number; ingestMicros: number; ratio: number } {
  const bytes = recorded.map((line) => Buffer.from(`${line}\n`, 'latin1'));
  const texts = bytes.map((line) => line.toString('utf8'));
  const normalise = createNormaliser({
    sanitizer: createSanitizer({ key: Buffer.alloc(32, 7) }),
    templates: createTemplateLearner(),
  });
  const lines = bytes.map(lineOf);
  const parse: number[] = [];
  const ingest: number[] = [];
  const ratios: number[] = [];
  let kept = 0;
  for (let round = 0; round < 25; round++) {
    let began = process.cpuUsage();
    for (let repeat = 0; repeat < 5; repeat++)
      for (const text of texts) kept += Object.keys(JSON.parse(text) as object).length;
    const a = cpuSeconds(began);
    began = process.cpuUsage();
    for (let repeat = 0; repeat < 5; repeat++) {
      for (const line of lines) {
        const result = normalise(line, Infinity);
        if (result.kind === 'accepted') kept += JSON.stringify(result.call).length;
      }
    }
    const b = cpuSeconds(began);
    // The first rounds warm the compiler up.
    if (round < 5) continue;
    parse.push((a * 1e6) / 5 / texts.length);
    ingest.push((b * 1e6) / 5 / texts.length);
    ratios.push(a / b);
  }
  if (kept === 0) throw new Error('nothing was measured');
  return { parseMicros: median(parse), ingestMicros: median(ingest), ratio: median(ratios) };
}

/** (a) again, right before or after something else: the machine of one minute is not that of the next. */
function parseMicrosNow(): number {
  const texts = recorded.map((line) => Buffer.from(line, 'latin1').toString('utf8'));
  const began = process.cpuUsage();
  for (let repeat = 0; repeat < 20; repeat++) for (const text of texts) JSON.parse(text);
  return (cpuSeconds(began) * 1e6) / 20 / texts.length;
}

function configFor(scratch: string, overrides: Record<string, unknown>): LoadedConfig {
  const config = configSchema.parse({
    dataDir: join(scratch, 'data'),
    policiesFile: join(scratch, 'policies.json'),
    http: { port: 0 },
    collector: { host: '127.0.0.1', port: 0 },
    ...overrides,
  });
  return { config, file: undefined, baseDir: scratch };
}

function sendLines(port: number, file: string, count: number, perSecond: number, firstId = 0): ChildProcess {
  const child = spawn(
    process.execPath,
    [resolve('test/bench/sender.mjs'), ...[port, file, count, perSecond, firstId].map(String)],
    {
      stdio: ['ignore', 'inherit', 'inherit'],
    },
  );
  return child;
}

async function until(
  holds: () => boolean | Promise<boolean>,
  what: string,
  withinMs = 180_000,
): Promise<void> {
  const end = Date.now() + withinMs;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`after ${withinMs} ms still not: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function rowsIn(system: System): Promise<number> {
  const lake = await system.lake();
  const rows = await lake.query<{ rows: string | number }>('SELECT count() AS rows FROM tripline.api_calls');
  return Number(rows[0]?.rows ?? 0);
}

/** (c): from the first byte on the socket to the last row in the lake, with every role at work. */
async function wholePipeline(file: string): Promise<{ perCpuSecond: number; perSecond: number }> {
  const scratch = mkdtempSync(join(tmpdir(), 'tripline-bench-'));
  const system = await startSystem({
    loaded: configFor(scratch, {}),
    logger: createLogger({ level: 'error', pretty: false }),
  });
  try {
    // Opening the engine is not part of the work per line.
    await until(async () => (await rowsIn(system).catch(() => -1)) === 0, 'the lake is open');
    let sent = 0;
    const send = async (lines: number): Promise<void> => {
      sendLines(system.collector.port, file, lines, 0, sent);
      sent += lines;
      await until(() => system.collector.accounting().published === sent, 'all lines are published');
      await until(async () => {
        const lag = await system.bus.lag();
        return lag.filter((row) => row.topic === 'api-calls').every((row) => row.records === 0);
      }, 'processor and archiver are done');
    };
    // What is asked for is the steady state, not the compiler's first minute.
    await send(warmUpLines);
    const cpu = process.cpuUsage();
    const began = Date.now();
    await send(pipelineLines);
    const seconds = cpuSeconds(cpu);
    const elapsed = (Date.now() - began) / 1000;
    const rows = await rowsIn(system);
    if (rows !== sent) throw new Error(`${rows} rows in the lake, ${sent} lines were sent`);
    return { perCpuSecond: pipelineLines / seconds, perSecond: pipelineLines / elapsed };
  } finally {
    await system.stop();
    rmSync(scratch, { recursive: true, force: true });
  }
}

/**
 * (d): while lines of others come at `perSecond`, one consumer after the other sends what raises an alert; measured from
 * just before its last line is written to the socket until the Admin API has the request that blocks it.
 */
async function detectToKong(file: string, perSecond: number): Promise<number[]> {
  const scratch = mkdtempSync(join(tmpdir(), 'tripline-bench-'));
  const offenders = Array.from({ length: 30 }, (_, n) => ({
    id: `00000000-0000-4000-8000-${n.toString().padStart(12, '0')}`,
    username: `offender-${n}`,
  }));
  const kong = await startKongStandIn({
    seed: {
      ...defaultSeed(),
      consumers: offenders,
      keyauth_credentials: [],
      basicauth_credentials: [],
      plugins: [],
    },
  });
  writeFileSync(
    join(scratch, 'policies.json'),
    JSON.stringify({
      policies: [
        { id: 'all', match: { type: 'request-spike' }, actions: [{ type: 'block', duration: '1h' }] },
      ],
    }),
  );
  const system = await startSystem({
    loaded: configFor(scratch, { kong: { adminUrl: kong.adminUrl } }),
    logger: createLogger({ level: 'fatal', pretty: false }),
  });
  let socket: Socket | undefined;
  const background = sendLines(system.collector.port, file, Math.floor(perSecond * 120), perSecond);
  try {
    await until(() => system.collector.accounting().published > perSecond, 'the background runs');
    socket = createConnection({ port: system.collector.port, host: '127.0.0.1' });
    const out = socket;
    const template = recorded.find((line) => line.includes('"consumer":{') && line.includes('"status":200'))!;
    const times: number[] = [];
    for (const [index, offender] of offenders.entries()) {
      const line = (n: number): string =>
        `${template
          .replace(
            /"id":"[0-9a-f]{32}"/,
            `"id":"f${index.toString(16).padStart(7, '0')}${n.toString(16).padStart(24, '0')}"`,
          )
          .replace(/"started_at":[0-9]+/, `"started_at":${Date.now()}`)
          .replace(/"consumer":\{[^}]*\}/, `"consumer":${JSON.stringify(offender)}`)}\n`;
      const put = `PUT /plugins/${pluginId(offender.id, 'request-termination')}`;
      const blocked = (): boolean => (kong.counters().adminRequests[put] ?? 0) > 0;
      // The floor for an actor without history is 400 in 10 s: the 401st line in one window tips the balance.
      await until(() => Date.now() % 10_000 < 7_000, 'a fresh window');
      for (let n = 0; n < 400; n++) out.write(line(n), 'latin1');
      await new Promise((resolve) => setTimeout(resolve, 300));
      if (blocked()) throw new Error('the alert came too early to be measured');
      const began = performance.now();
      out.write(line(400), 'latin1');
      while (!blocked()) {
        if (performance.now() - began > 20_000) throw new Error(`no Admin API call for ${offender.username}`);
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      times.push(performance.now() - began);
    }
    return times;
  } finally {
    background.kill();
    socket?.destroy();
    await system.stop();
    await kong.close();
    rmSync(scratch, { recursive: true, force: true });
  }
}

const scratch = mkdtempSync(join(tmpdir(), 'tripline-bench-'));
const file = join(scratch, 'lines.ndjson');
writeFileSync(file, Buffer.from(`${recorded.join('\n')}\n`, 'latin1'));
say(
  `Node ${process.versions.node}, ${cpus().length} x ${cpus()[0]?.model ?? 'CPU'}; ${recorded.length} recorded lines`,
);

const ratio = ingestRatio();
say(`(a) JSON.parse alone                         ${ratio.parseMicros.toFixed(1)} us per line`);
say(
  `(b) read + normalise + sanitise + encode     ${ratio.ingestMicros.toFixed(1)} us per line; (a) / (b) = ${ratio.ratio.toFixed(2)}  (mark: at least 0.5)`,
);

const parseBefore = parseMicrosNow();
const pipeline = await wholePipeline(file);
const parseMicros = (parseBefore + parseMicrosNow()) / 2;
const pipelineToParse = 1e6 / pipeline.perCpuSecond / parseMicros;
say(
  `(c) socket to lake, whole process            ${Math.round(pipeline.perCpuSecond)} lines per CPU-second (mark: at least 20,000), ` +
    `${Math.round(pipeline.perSecond)} lines/s; a line costs ${pipelineToParse.toFixed(1)} times its JSON.parse (${parseMicros.toFixed(1)} us then)`,
);

const half = Math.floor(pipeline.perSecond / 2);
// The background is of nobody whom Kong knows, so that every Admin API call is for an offender.
const background = join(scratch, 'background.ndjson');
writeFileSync(
  background,
  Buffer.from(`${recorded.filter((line) => !line.includes('"consumer":{')).join('\n')}\n`, 'latin1'),
);
const times = await detectToKong(background, half);
const [p50, p95, p99] = [0.5, 0.95, 0.99].map((share) => quantile(times, share)) as [number, number, number];
say(
  `(d) line to Admin API call at ${half} lines/s   p50 ${p50.toFixed(0)} ms, p95 ${p95.toFixed(0)} ms, p99 ${p99.toFixed(0)} ms (mark: p95 under 1,000 ms), ${times.length} times`,
);
rmSync(scratch, { recursive: true, force: true });

const detectors = detectorCosts();
const all = detectors.at(-1)!;
say("(e) detectors over an actor's calls, each alone; ns per call, share of all, bytes of state per actor");
for (const { name, nsPerCall, stateBytes } of detectors) {
  const share = (nsPerCall / all.nsPerCall).toFixed(2);
  say(`    ${name.padEnd(40)} ${String(nsPerCall).padStart(6)} ns  ${share}  ${stateBytes} B`);
}

if (json) {
  process.stdout.write(
    `${JSON.stringify({
      ingestToParseRatio: Number(ratio.ratio.toFixed(3)),
      linesPerCpuSecond: Math.round(pipeline.perCpuSecond),
      linesPerSecond: Math.round(pipeline.perSecond),
      pipelineToParseRatio: Number(pipelineToParse.toFixed(2)),
      detectToKongMsP50: Math.round(p50),
      detectToKongMsP95: Math.round(p95),
      detectToKongMsP99: Math.round(p99),
      detectors,
    })}\n`,
  );
}
process.exit(0);
