import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { recordsOf } from '@tripline/bus';
import { applyConnectPlan, createKongAdmin, planConnect } from '@tripline/kong';
import { startKongStandIn, type KongStandIn } from '@tripline/kong-stand-in';
import { describeTarget, type Alert, type Response } from '@tripline/model';
import { createLogger, onSignals, type LoadedConfig } from '@tripline/runtime';
import { attackRequest, demoConsumers, livePastWeek, ordinaryRequest, seeded } from './demo-traffic.ts';
import { readOptions } from './options.ts';
import { startSystem, type System } from './system.ts';

/** When the bombardment begins, after the start of live traffic, and how many requests it makes per second. */
const attackAfterMs = 30_000;
const attackPerSecond = 50;
/** The bombardment goes on for so long after its first refused request. */
const attackOutlastsMs = 5_000;
const blockDuration = '20s';
/** With --once: the whole story must have happened by then. */
const storyDeadlineMs = 150_000;

/** The story that the demo tells, in order. */
const chapters = {
  learnt: 'baseline learnt',
  alerted: 'alert raised',
  matched: 'policy matched',
  attached: 'plugin attached',
  refused: 'first 403',
  expired: 'block expired',
  served: 'served again',
} as const;
type Chapter = keyof typeof chapters;

/** `tripline demo`: `up` with a Kong stand-in, a population and an attack to watch. */
export async function demo(args: string[]): Promise<number> {
  const { values, loaded } = readOptions(args, { once: { type: 'boolean', default: false } });
  const scratch = mkdtempSync(join(tmpdir(), 'tripline-demo-'));
  const kong = await startKongStandIn();
  let system: System | undefined;
  try {
    system = await startSystem({
      loaded: demoConfig(loaded, kong, scratch),
      logger: createLogger({ level: 'error', pretty: true }),
    });
    return await tell(system, kong, values.once);
  } finally {
    await system?.stop();
    await kong.close();
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** The operator's configuration, with the stand-in as Kong, a policy of its own and a data directory that goes away. */
function demoConfig(loaded: LoadedConfig, kong: KongStandIn, scratch: string): LoadedConfig {
  const policiesFile = join(scratch, 'policies.json');
  const policy = {
    id: 'stop-bombardment',
    match: { type: 'request-spike', severityAtLeast: 'high' },
    actions: [{ type: 'block', duration: blockDuration, message: 'Slow down' }],
  };
  writeFileSync(policiesFile, JSON.stringify({ policies: [policy] }, null, 2));
  const { config } = loaded;
  return {
    ...loaded,
    config: {
      ...config,
      dataDir: join(scratch, 'data'),
      policiesFile,
      webhooks: [],
      kong: { adminUrl: kong.adminUrl },
      collector: { ...config.collector, token: 'demo-token', allow: [] },
    },
  };
}

async function tell(system: System, kong: KongStandIn, once: boolean): Promise<number> {
  const began = Date.now();
  const told = new Map<Chapter, number>();
  let wake: () => void = () => undefined;
  const say = (text: string): boolean =>
    process.stdout.write(`${((Date.now() - began) / 1000).toFixed(1).padStart(6)} s  ${text}\n`);
  const chapter = (which: Chapter, text: string): void => {
    if (told.has(which) && once) return;
    told.set(which, Date.now());
    say(`${chapters[which].toUpperCase().padEnd(16)} ${text}`);
    wake();
  };
  let signalled = false;
  const isStopped = (): boolean => signalled;
  const forget = onSignals(() => {
    signalled = true;
    wake();
  });

  say('A Kong stand-in and all of Tripline run in this process, on embedded engines.');
  say(
    `Collector on port ${system.collector.port}, Admin API at ${kong.adminUrl}, health on port ${system.httpPort}.`,
  );
  await connectKong(system, kong);
  say('tcp-log plugin installed through the Admin API, as `tripline kong connect --apply` does.');

  const random = seeded(7);
  const consumers = demoConsumers();
  const offender = consumers.find((consumer) => consumer.name === 'mallory')!;
  say(`Learning from the past week of ${consumers.length} consumers …`);
  let shown = 0;
  const calls = await livePastWeek(kong, consumers, Date.now(), random, (done) => {
    if (done - shown >= 0.25) {
      shown = done;
      say(`  ${Math.round(done * 100)} %`);
    }
    return !isStopped();
  });
  while (!isStopped() && !(await isCaughtUp(system, calls)))
    await new Promise((resolve) => setTimeout(resolve, 50));
  if (isStopped()) {
    forget();
    say('Stopping.');
    return once ? 1 : 0;
  }
  chapter('learnt', `${calls} calls of ${consumers.length} consumers, 168 hours`);
  say(
    `Ordinary traffic now runs live. In ${attackAfterMs / 1000} s one consumer begins to bombard an endpoint.`,
  );

  const watching = watch(system, chapter);
  const liveSince = Date.now();
  let attacking = false;
  let refusedAt: number | undefined;
  let over = false;
  let nextAttackAt = liveSince + attackAfterMs;
  const everyMs = 100;
  const traffic = setInterval(() => {
    for (const consumer of consumers) {
      if (random() < 0.03) ordinaryRequest(kong, consumer, random);
    }
    const now = Date.now();
    if (!over && now >= nextAttackAt) {
      if (!attacking) {
        attacking = true;
        say(`${offender.name} now sends ${attackPerSecond} requests per second to GET /orders.`);
      }
      for (let i = 0; i < (attackPerSecond * everyMs) / 1000; i++) {
        const answer = attackRequest(kong, offender);
        if (answer.status === 403 && refusedAt === undefined) {
          refusedAt = now;
          const active = told.get('attached');
          chapter(
            'refused',
            `${offender.name} gets "Slow down"${active ? `, ${now - active} ms after the plugin was attached (Kong takes up to 5 s)` : ''}`,
          );
        }
      }
      if (refusedAt !== undefined && now - refusedAt > attackOutlastsMs) {
        over = true;
        say(`${offender.name} gives up.`);
      }
    }
    if (
      told.has('expired') &&
      !told.has('served') &&
      ordinaryRequest(kong, offender, random).status === 200
    ) {
      chapter('served', `${offender.name} is a customer like any other again`);
      if (!once) {
        [attacking, over, refusedAt] = [false, false, undefined];
        told.delete('expired');
        told.delete('served');
        nextAttackAt = now + 120_000;
        say('The next attack comes in two minutes; Ctrl-C stops.');
      }
    }
  }, everyMs);

  let late = false;
  const finished = (): boolean => signalled || late || (once && told.size === Object.keys(chapters).length);
  const deadline = setTimeout(() => {
    late = once;
    wake();
  }, storyDeadlineMs);
  try {
    while (!finished()) await new Promise<void>((resolve) => (wake = resolve));
  } finally {
    clearTimeout(deadline);
    clearInterval(traffic);
    forget();
    await watching.stop();
  }
  const missing = (Object.keys(chapters) as Chapter[]).filter((which) => !told.has(which));
  if (!once) return 0;
  if (missing.length === 0) {
    say('The whole story happened.');
    return 0;
  }
  say(`Missing: ${missing.map((which) => chapters[which]).join(', ')}.`);
  return 1;
}

async function connectKong(system: System, kong: KongStandIn): Promise<void> {
  const admin = createKongAdmin({ url: kong.adminUrl });
  const settings = {
    collectorHost: '127.0.0.1',
    collectorPort: system.collector.port,
    tls: false,
    token: 'demo-token',
    fingerprintKey: 'demo-fingerprint-key',
  };
  await applyConnectPlan(admin, planConnect(settings, await admin.plugins()));
  await admin.close();
  kong.rebuild();
}

/** Has the processor folded nearly so many calls? */
async function isCaughtUp(system: System, calls: number): Promise<boolean> {
  const behind = (await system.bus.lag()).find(
    (row) => row.topic === 'api-calls' && row.group === 'processor',
  );
  const { published } = system.collector.accounting();
  return published >= calls && behind !== undefined && behind.records < 1_000;
}

/** Tells what comes by on the bus. */
function watch(
  system: System,
  chapter: (which: Chapter, text: string) => void,
): { stop: () => Promise<void> } {
  const parsed = (body: Buffer): unknown[] =>
    Array.from(recordsOf(body), (record) => JSON.parse(record.toString()) as unknown);
  const alerts = system.bus.consume({
    topic: 'alerts',
    group: 'demo',
    onBatch: ({ body }) => {
      for (const alert of parsed(body) as Alert[]) {
        if (alert.revision !== 1) continue;
        const { observed, expected } = alert;
        chapter(
          'alerted',
          `${alert.severity} ${alert.type}: ${alert.summary} Observed ${observed.value} ${observed.unit}, expected ${expected.value}, at most ${expected.high}.`,
        );
      }
      return Promise.resolve();
    },
  });
  const responses = system.bus.consume({
    topic: 'responses',
    group: 'demo',
    onBatch: ({ body }) => {
      for (const response of parsed(body) as Response[]) {
        const who = describeTarget(response.target);
        if (response.revision === 1)
          chapter(
            'matched',
            `${response.policyId}: ${response.action.type} ${who} for ${response.action.duration}`,
          );
        if (response.status === 'active')
          chapter(
            'attached',
            `request-termination on ${who}, ${(response.activeAt ?? 0) - response.decidedAt} ms after the decision`,
          );
        if (response.status === 'expired') chapter('expired', `the plugin on ${who} is gone from Kong`);
      }
      return Promise.resolve();
    },
  });
  return {
    stop: async () => {
      await alerts.stop();
      await responses.stop();
    },
  };
}
