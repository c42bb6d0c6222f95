import { spawn, type ChildProcess } from 'node:child_process';
import { readdirSync, readFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createClient } from '@clickhouse/client';
import kafkajs from 'kafkajs';
import { partitionOf } from '@tripline/bus';
import { createDetection, detectionConfigSchema } from '@tripline/detection';
import { createNormaliser, lineOf } from '@tripline/kong';
import { actorKey, type ApiCall } from '@tripline/model';
import { createSanitizer } from '@tripline/sanitize';
import { createRedisState } from '@tripline/state/redis';
import {
  metric,
  settled,
  startEngines,
  startFleet,
  type Engines,
  type Fleet,
  type Member,
} from '../distributed/fleet.ts';
import { until } from '../support/parts.ts';
import { statusOf } from '../support/running.ts';
import type { MinimalSettings } from './minimal-role.ts';

/**
 * The chain on real Kafka and Redis, each role a process of its own, in lines per CPU-second of all of them together
 * (servers and sender not counted), beside two references of the same run: a bare kafkajs loop that produces and consumes
 * the same records, one by one, and does nothing else; and a chain of the same processes with nothing of ours in it
 * (`minimal-role.ts`), the limit of this stack. And how the cost of a line grows with the number of actors whose states are in
 * Redis, each with four weeks of history.
 */
const json = process.argv.includes('--json');
const say = (text: string): void => void (json ? process.stderr : process.stdout).write(`${text}\n`);

const partitions = 8;
// So many that what runs is what the compiler makes in the end.
const warmUpLines = 150_000;
const measuredLines = 120_000;
const bareRecords = 200_000;
const perSend = 2_000;

const fixtures = resolve('test/fixtures/tcp-log');
const recorded = readdirSync(fixtures)
  .filter((name) => name.endsWith('.ndjson'))
  .flatMap((name) => readFileSync(join(fixtures, name)).toString('latin1').split('\n').slice(0, -1))
  .filter((line) => line.includes('"consumer":{'));

function calls(): ApiCall[] {
  const normalise = createNormaliser({ sanitizer: createSanitizer({ key: Buffer.alloc(32, 7) }) });
  return recorded.flatMap((line) => {
    const result = normalise(lineOf(Buffer.from(`${line}\n`, 'latin1')), Infinity);
    return result.kind === 'accepted' ? [result.call] : [];
  });
}

/** CPU microseconds per record to produce and consume it once; one record per message, no compression, acks from all. */
async function bareLoop(
  engines: Engines,
  records: readonly { key: string; value: string }[],
): Promise<number> {
  const kafka = new kafkajs.Kafka({ brokers: engines.kafka.brokers, logLevel: kafkajs.logLevel.NOTHING });
  const topic = `bare-${Date.now()}`;
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({
    topics: [{ topic, numPartitions: partitions, replicationFactor: 1 }],
    waitForLeaders: true,
  });
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
  const consumer = kafka.consumer({ groupId: topic, maxBytesPerPartition: 4 * 2 ** 20 });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  let consumed = 0;
  let bytes = 0;
  const all = warmUpLines + bareRecords;
  const seenAll = new Promise<void>((done) => {
    void consumer.run({
      autoCommit: false,
      partitionsConsumedConcurrently: partitions,
      eachBatch: ({ batch }) => {
        for (const { value } of batch.messages) bytes += value?.length ?? 0;
        consumed += batch.messages.length;
        if (consumed >= all) done();
        return Promise.resolve();
      },
    });
  });
  let began = process.cpuUsage();
  for (let sent = 0; sent < all; sent += perSend) {
    if (sent === warmUpLines) began = process.cpuUsage();
    const messages = Array.from({ length: perSend }, (_, i) => {
      const { key, value } = records[(sent + i) % records.length]!;
      return { key, value, partition: partitionOf(key, partitions) };
    });
    await producer.send({ topic, acks: -1, messages });
  }
  await seenAll;
  const { user, system } = process.cpuUsage(began);
  await Promise.all([producer.disconnect(), consumer.disconnect(), admin.disconnect()]);
  if (bytes === 0) throw new Error('nothing was consumed');
  return (user + system) / bareRecords;
}

/** CPU seconds that a process has used so far, by the kernel's account (100 ticks a second). */
function cpuSecondsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** Four weeks of an actor with one service, some 20 calls an hour by day, as the store keeps it. */
function learntState(): Buffer {
  const detection = createDetection(detectionConfigSchema.parse({}));
  const nowhere = { alert: () => undefined, toEndpoint: () => undefined };
  const actor = detection.actors.decode(undefined);
  const peers = detection.peers.decode(undefined);
  const template = calls()[0]!;
  const from = Date.now() - 28 * 86_400_000;
  for (let hour = 0; hour < 28 * 24; hour++) {
    const count = Math.round(12 + 8 * Math.sin((hour / 24) * 2 * Math.PI)) + ((hour * 7) % 5);
    for (let n = 0; n < count; n++) {
      const startedAt = from + hour * 3_600_000 + Math.floor((n * 3_600_000) / count);
      detection.fold(actor, peers, { ...template, id: `${hour}.${n}`, startedAt }, nowhere);
    }
  }
  return detection.actors.encode(actor);
}

/** Gives every actor of the sender (see sender.mjs) a learnt state, before anybody claims the partitions. */
async function fillStates(engines: Engines, keyPrefix: string, actors: number): Promise<void> {
  const state = createRedisState({
    url: engines.redis.url,
    keyPrefix,
    name: 'processor',
    idleExpiryMs: 35 * 86_400_000,
  });
  const value = learntState();
  const waiting = new Map<number, Map<string, Buffer>>();
  const claims = await Promise.all(
    Array.from({ length: partitions }, (_, partition) => state.claim(partition)),
  );
  const save = async (partition: number): Promise<void> => {
    const changes = waiting.get(partition);
    if (!changes) return;
    waiting.delete(partition);
    await claims[partition]!.checkpoint(changes, 0);
  };
  for (let n = 0; n < actors; n++) {
    const key = actorKey({ actorKind: 'consumer', actorId: consumerId(n) });
    const partition = partitionOf(key, partitions);
    const changes = waiting.get(partition) ?? new Map<string, Buffer>();
    waiting.set(partition, changes.set(`a:${key}`, value));
    if (changes.size >= 2_000) await save(partition);
  }
  for (const partition of [...waiting.keys()]) await save(partition);
  await state.close();
}

/** As sender.mjs makes them. */
function consumerId(n: number): string {
  return `00000000-0000-4000-8000-${n.toString(16).padStart(12, '0')}`;
}

interface ChainFigures {
  /** As fast as lines were taken at first, with a cold compiler. */
  maxPerSecond: number;
  perSecond: number;
  /** CPU microseconds per line, by role. */
  microsByRole: Record<string, number>;
  processorMegabytes: number;
}

const microsOf = ({ microsByRole }: Pick<ChainFigures, 'microsByRole'>): number =>
  Object.values(microsByRole).reduce((sum, micros) => sum + micros, 0);

/**
 * Lines come as fast as they are taken at first, which warms the compiler up and shows the highest rate, then steadily at each of
 * the given rates, of which the figures are: a chain that is flooded measures its spool, one that idles the timers of its
 * clients.
 */
async function chain(
  engines: Engines,
  file: string,
  options: { actors: number; processors: number; rates: (maxPerSecond: number) => number[] },
): Promise<ChainFigures[]> {
  const fleet = await startFleet(engines, {
    partitions,
    roles: [],
  });
  try {
    await fillStates(engines, fleet.name, options.actors);
    await fleet.add('collector');
    for (let n = 0; n < options.processors; n++) await fleet.add('processor');
    await fleet.add('archiver');
    await fleet.add('responder');
    const collector = fleet.of('collector')[0]!;
    let sent = 0;
    const send = async (lines: number, perSecond: number): Promise<void> => {
      startSender(collector.linesPort, file, lines, perSecond, sent, options.actors);
      sent += lines;
      await untilDealtWith(fleet, sent);
    };
    const began = Date.now();
    await send(warmUpLines, 0);
    const maxPerSecond = (warmUpLines * 1_000) / (Date.now() - began);
    const all: ChainFigures[] = [];
    for (const perSecond of options.rates(maxPerSecond)) {
      const before = cpuByMember(fleet);
      await send(measuredLines, Math.floor(perSecond));
      const microsByRole: Record<string, number> = {};
      for (const [member, used] of cpuByMember(fleet)) {
        const micros = ((used - before.get(member)!) * 1e6) / measuredLines;
        microsByRole[member.role] = (microsByRole[member.role] ?? 0) + micros;
      }
      const memory = await metric(fleet.of('processor')[0]!, 'process_resident_memory_bytes');
      all.push({ maxPerSecond, perSecond, microsByRole, processorMegabytes: memory / 2 ** 20 });
    }
    await settled(fleet);
    const { rows } = await fleet.lake();
    if (rows !== sent) throw new Error(`${rows} rows in the lake, ${sent} lines were sent`);
    return all;
  } finally {
    await fleet.dispose();
  }
}

/** The same lines at the same rate through a chain with nothing of ours in it. */
async function minimalChain(
  engines: Engines,
  file: string,
  perSecond: number,
): Promise<Pick<ChainFigures, 'microsByRole'>> {
  const topic = `minimal-${Date.now()}`;
  const { url, username, password } = engines.clickhouse;
  const table = 'default.minimal';
  const kafka = new kafkajs.Kafka({ brokers: engines.kafka.brokers, logLevel: kafkajs.logLevel.NOTHING });
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({
    topics: [{ topic, numPartitions: partitions, replicationFactor: 1 }],
    waitForLeaders: true,
  });
  await admin.disconnect();
  const client = createClient({ url, username, password });
  await client.command({ query: `CREATE TABLE IF NOT EXISTS ${table} (line String) ENGINE = Null` });
  await client.close();
  const settings: MinimalSettings = {
    brokers: engines.kafka.brokers,
    topic,
    partitions,
    clickhouse: { url, username, password },
    table,
    calls: calls(),
  };
  const settingsFile = join(scratch, 'minimal.json');
  writeFileSync(settingsFile, JSON.stringify(settings));
  const told = new Map<string, { port?: number; lines?: number; joined?: boolean }>();
  const members = ['processor', 'archiver', 'collector'].map((role): [string, ChildProcess] => {
    const child = spawn(process.execPath, [resolve('dist/tools/minimal-role.js'), role, settingsFile], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    child.on('message', (message: object) => told.set(role, { ...told.get(role), ...message }));
    return [role, child];
  });
  try {
    const readers = ['processor', 'archiver'];
    await until(
      () => told.get('collector')?.port !== undefined && readers.every((role) => told.get(role)?.joined),
      'the minimal chain started',
      60_000,
    );
    let sent = 0;
    const send = async (lines: number, rate: number): Promise<void> => {
      startSender(told.get('collector')!.port!, file, lines, rate, sent, 1_000);
      sent += lines;
      await until(
        () => readers.every((role) => told.get(role)?.lines === sent),
        `${sent} lines through the minimal chain`,
        300_000,
      );
    };
    await send(warmUpLines, 0);
    const before = members.map(([, child]) => cpuSecondsOf(child.pid!));
    await send(measuredLines, Math.floor(perSecond));
    return {
      microsByRole: Object.fromEntries(
        members.map(([role, child], index) => [
          role,
          ((cpuSecondsOf(child.pid!) - before[index]!) * 1e6) / measuredLines,
        ]),
      ),
    };
  } finally {
    for (const [, child] of members) child.kill('SIGKILL');
  }
}

function startSender(...args: [port: number, ...unknown[]]): void {
  spawn(process.execPath, [resolve('test/bench/sender.mjs'), ...args.map(String)], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
}

function cpuByMember(fleet: Fleet): Map<Member, number> {
  return new Map(fleet.members.map((member) => [member, cpuSecondsOf(member.running().process.pid!)]));
}

/** Looks not too often: it asks the roles to count. */
async function untilDealtWith(fleet: Fleet, lines: number): Promise<void> {
  const collector = fleet.of('collector')[0]!;
  const end = Date.now() + 600_000;
  for (;;) {
    const published = (await statusOf(collector.url)).collector.accounting.published;
    const readers = [fleet.of('processor')[0]!, fleet.of('archiver')[0]!];
    const waiting = await Promise.all(
      readers.map(async ({ url }) => (await statusOf(url)).lag.find(({ topic }) => topic === 'api-calls')),
    );
    if (published >= lines && waiting.every((row) => row?.records === 0)) return;
    if (Date.now() > end) throw new Error('the lines are not all dealt with after 10 minutes');
    await new Promise((resolve) => setTimeout(resolve, 2_000));
  }
}

async function usedMemoryBytes(engines: Engines): Promise<number> {
  const info = String(await engines.redis.command('INFO', 'memory'));
  return Number(/used_memory:([0-9]+)/.exec(info)?.[1]);
}

/** Redis memory that one more idle actor takes, everything included. */
async function redisBytesPerIdleActor(engines: Engines, actors: number): Promise<number> {
  const prefix = `idle-${actors}`;
  const before = await usedMemoryBytes(engines);
  await fillStates(engines, prefix, actors);
  return ((await usedMemoryBytes(engines)) - before) / actors;
}

const scratch = mkdtempSync(join(tmpdir(), 'tripline-bench-'));
const file = join(scratch, 'lines.ndjson');
writeFileSync(file, Buffer.from(`${recorded.join('\n')}\n`, 'latin1'));
say(
  `Node ${process.versions.node}, ${cpus().length} x ${cpus()[0]?.model ?? 'CPU'}; ${recorded.length} recorded lines`,
);
say('Starting Kafka, Redis and the ClickHouse engine ...');
const engines = await startEngines();
try {
  const idle = await redisBytesPerIdleActor(engines, 20_000);
  say(`(e) Redis per idle actor                     ${Math.round(idle)} bytes (mark: at most 1,024)`);

  const records = calls().map((call) => ({ key: actorKey(call), value: JSON.stringify(call) }));
  const bareBefore = await bareLoop(engines, records);
  const show = (micros: Record<string, number>): string =>
    Object.entries(micros)
      .map(([role, one]) => `${role} ${one.toFixed(1)}`)
      .join(', ');
  const measure = async (
    actors: number,
    processors: number,
    rates: (maxPerSecond: number) => number[],
  ): Promise<ChainFigures[]> => {
    const all = await chain(engines, file, { actors, processors, rates });
    for (const found of all)
      say(
        `    ${actors} actors, ${processors} processor${processors > 1 ? 's' : ''}, ${Math.round(found.perSecond)} lines/s of at most ` +
          `${Math.round(found.maxPerSecond)}: us per line: ${show(found.microsByRole)}; a processor holds ${Math.round(found.processorMegabytes)} MB`,
      );
    return all;
  };
  // Most of the highest rate for what a line costs; for comparisons one that all of them can do, as small batches cost more.
  const [thousand, reference] = await measure(1_000, 1, (max) => [max * 0.8, max * 0.4]);
  const minimal = await minimalChain(engines, file, thousand!.perSecond);
  say(`    with nothing of ours in it: us per line: ${show(minimal.microsByRole)}`);
  const bare = (bareBefore + (await bareLoop(engines, records))) / 2;
  const [chainMicros, minimalMicros] = [microsOf(thousand!), microsOf(minimal)];
  const per = (micros: number): number => Math.round(1e6 / micros);
  say(
    `(f) chain against a bare kafkajs loop        ${per(chainMicros)} against ${per(bare)} records per CPU-second: ${(bare / chainMicros).toFixed(2)} (mark: at least 0.4)`,
  );
  say(
    `    a chain with nothing of ours in it       ${per(minimalMicros)}: ${(bare / minimalMicros).toFixed(2)} of the bare loop; ours ${(minimalMicros / chainMicros).toFixed(2)} of it`,
  );
  const common = (): number[] => [reference!.perSecond];
  const [two] = await measure(1_000, 2, common);
  const [hundredThousand] = await measure(100_000, 1, common);
  const [million] = await measure(1_000_000, 1, common);
  // A machine that others use, too, is not the same minutes later: the reference is the mean of before and after.
  const [again] = await measure(1_000, 1, common);
  const usual = (microsOf(reference!) + microsOf(again!)) / 2;
  const growthOf = (found: ChainFigures | undefined): number => microsOf(found!) / usual;
  say(
    `(g) cost of a line, 1,000,000 actors to 1,000   ${growthOf(million).toFixed(2)} (mark: at most 1.3); 100,000: ${growthOf(hundredThousand).toFixed(2)}`,
  );
  say(`(h) cost of a line, two processors to one       ${growthOf(two).toFixed(2)}`);
  if (json) {
    process.stdout.write(
      `${JSON.stringify({
        chainToBareLoopRatio: Number((bare / chainMicros).toFixed(3)),
        minimalToBareLoopRatio: Number((bare / minimalMicros).toFixed(3)),
        chainToMinimalRatio: Number((minimalMicros / chainMicros).toFixed(3)),
        costGrowth1kTo1M: Number(growthOf(million).toFixed(3)),
        redisBytesPerIdleActor: Math.round(idle),
        linesPerCpuSecond: per(chainMicros),
        bareRecordsPerCpuSecond: per(bare),
        costGrowth1To2Processors: Number(growthOf(two).toFixed(3)),
        processorMegabytes1M: Math.round(million!.processorMegabytes),
        microsByRole: thousand!.microsByRole,
      })}\n`,
    );
  }
} finally {
  await engines.dispose();
  rmSync(scratch, { recursive: true, force: true });
}
process.exit(0);
