import { startKongStandIn, defaultSeed, type KongStandIn } from '@tripline/kong-stand-in';
import type { Alert } from '@tripline/model';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { seeded } from '../../apps/cli/src/demo-traffic.ts';
import { skipWithout } from '../engines/needs.ts';
import { until } from '../support/parts.ts';
import { callLine } from '../support/running.ts';
import {
  metric,
  postLines,
  settled,
  startEngines,
  startFleet,
  undisturbed,
  type Engines,
  type Fleet,
  type FleetRole,
  type Member,
} from './fleet.ts';

/**
 * The roles as separate processes on real Kafka and Redis and the ClickHouse engine, and everything that can be taken from
 * under them. Always the same lines, and always the same question: is every line that a collector took in the lake exactly
 * once, are the alerts those of an undisturbed run, is each response made once and taken back?
 */

const loud = [10, 11, 12, 13];
const consumer = (index: number): { id: string; username: string } => ({
  id: `0c1dbd85-0000-4000-8000-${String(index).padStart(12, '0')}`,
  username: `consumer-${index}`,
});

/** Ten quiet consumers all along, and four that bombard for ten seconds, one after the other; ending some minutes ago. */
function traffic(): { id: string; line: Buffer }[] {
  const slot = Math.floor(Date.now() / 10_000) * 10_000 - 600_000;
  const planned: { at: number; who: number }[] = [];
  for (let n = 0; n < 240; n++) for (let who = 0; who < 10; who++) planned.push({ at: n * 1_000 + who, who });
  for (const [index, who] of loud.entries())
    for (let n = 0; n < 600; n++) planned.push({ at: 10_000 + index * 60_000 + n * 16, who });
  planned.sort((a, b) => a.at - b.at);
  return planned.map(({ at, who }, n) => ({
    id: `${n.toString(16).padStart(32, '0')}.${slot + at}`,
    line: callLine(n, slot + at, consumer(who)),
  }));
}

const block = {
  id: 'stop',
  match: { type: 'request-spike' },
  actions: [{ type: 'block', duration: '30s' }],
};

const everyRole: FleetRole[] = [
  'collector',
  'collector',
  'collector',
  'processor',
  'processor',
  'archiver',
  'archiver',
  'responder',
  'responder',
];

describe.skipIf(await skipWithout('the fleet on Kafka and Redis', 'Kafka', 'Redis'))('the fleet', () => {
  let engines: Engines | undefined;
  const calls = traffic();
  const lines = calls.map(({ line }) => line);
  const ids = new Set(calls.map(({ id }) => id));
  /** The alerts of a run in which nothing happened. */
  let expected: Alert[] = [];
  const undo: (() => Promise<void>)[] = [];

  beforeAll(async () => {
    engines = await startEngines();
  }, 180_000);
  afterEach(async () => {
    for (const step of undo.splice(0).reverse()) await step();
  });
  afterAll(async () => engines?.dispose());

  const kongWithOffenders = async (): Promise<KongStandIn> => {
    const seed = defaultSeed();
    const kong = await startKongStandIn({
      seed: { ...seed, consumers: [...seed.consumers!, ...loud.map(consumer)] },
    });
    undo.push(() => kong.close());
    return kong;
  };

  const fleet = async (options: Parameters<typeof startFleet>[1]): Promise<Fleet> => {
    const started = await startFleet(engines!, options);
    undo.push(() => started.dispose());
    return started;
  };

  /** What must hold whatever happened. */
  const expectWhole = async (under: Fleet, ordered = true): Promise<void> => {
    const lake = await under.lake();
    expect(lake.rows, 'rows in the lake').toBe(calls.length);
    expect(lake.ids, 'ids in the lake').toEqual(ids);
    const told = (alerts: Alert[]): object[] => alerts.map((alert) => essence(alert, ordered));
    expect(told(lake.alerts), 'alerts').toEqual(told(expected));
  };

  const send = (under: Fleet, options: Parameters<typeof postLines>[2] = {}): Promise<void> =>
    postLines(lines, () => under.of('collector'), options);

  it('gives the same alerts to the letter on one partition and on four, and those of replay', async () => {
    const single = await fleet({ partitions: 1, roles: ['collector', 'processor', 'archiver'] });
    await send(single);
    await settled(single);
    const one = await single.lake();
    const replayed = await undisturbed(lines, single);
    await single.dispose();

    const spread = await fleet({ roles: ['collector', 'processor', 'processor', 'archiver'] });
    await send(spread);
    await settled(spread);
    const four = await spread.lake();
    expect(four.alerts).toEqual(one.alerts);
    expect(four.alerts.map(({ id }) => id)).toEqual(replayed.map(({ id }) => id));
    expect(four.alerts).toHaveLength(loud.length);
    expected = four.alerts;
    await expectWhole(spread);
  }, 240_000);

  it('loses and doubles nothing while every role is killed at random moments, and takes each response back', async () => {
    const kong = await kongWithOffenders();
    const under = await fleet({ roles: everyRole, kong, policies: [block] });
    const random = seeded(42);
    const sent = new AbortController();
    let kills = 0;
    const killing = (async () => {
      while (!sent.signal.aborted || kills < 20) {
        await new Promise((resolve) => setTimeout(resolve, 300 + random() * 900));
        const victim = under.members[Math.floor(random() * under.members.length)]!;
        await victim.kill('SIGKILL');
        kills++;
        await victim.start();
      }
    })();
    await send(under, { pauseMs: 150 });
    sent.abort();
    await killing;
    await settled(under);
    await expectWhole(under);
    // One response to each offender, however many responders decided: and in the end Kong has none of it left.
    await until(async () => (await tagged(kong)).length === 0, 'Kong is as it was', 60_000);
    await settled(under);
    const { responses } = await under.lake();
    expect(responses.map(({ target: { name } }) => name).sort()).toEqual(
      loud.map((index) => consumer(index).username),
    );
    expect(new Set(responses.map(({ status }) => status))).toEqual(new Set(['expired']));
  }, 300_000);

  it('keeps everything while the broker is killed and comes back: collectors spool, and drain', async () => {
    const under = await fleet({ roles: ['collector', 'collector', 'processor', 'archiver'] });
    let outage: Promise<void> | undefined;
    let spooled = 0;
    await send(under, {
      pauseMs: 100,
      onBatch: (sent) => {
        if (sent < 1_000) return;
        outage ??= (async () => {
          await engines!.kafka.kill();
          await until(
            async () => {
              const counts = await Promise.all(
                under
                  .of('collector')
                  .map((member) => metric(member, 'tripline_collector_lines_spooled_total')),
              );
              spooled = counts.reduce((sum, count) => sum + count, 0);
              return spooled > 500;
            },
            'the collectors spool',
            60_000,
          );
          await engines!.kafka.restart();
        })();
      },
    });
    await outage;
    await settled(under);
    expect(spooled).toBeGreaterThan(500);
    // The two spools drain side by side: which of an episode's calls tips the balance is no longer certain.
    await expectWhole(under, false);
    for (const member of under.of('collector')) {
      expect(await metric(member, 'tripline_collector_lines_dropped_total')).toBe(0);
      expect(await metric(member, 'tripline_collector_spool_records')).toBe(0);
    }
  }, 240_000);

  it('waits while Redis is away, and gives the same alerts when it comes back', async () => {
    const under = await fleet({ roles: ['collector', 'processor', 'processor', 'archiver'] });
    await during(under, 1_500, async () => {
      await engines!.redis.stop();
      await Promise.all(under.of('processor').map((member) => untilNotReady(member)));
      await engines!.redis.restart();
    });
    await settled(under);
    await expectWhole(under);
  }, 240_000);

  it('learns anew from the bus when Redis comes back empty, and gives the same alerts', async () => {
    const under = await fleet({ roles: ['collector', 'processor', 'processor', 'archiver', 'archiver'] });
    await during(under, 2_500, async () => {
      await engines!.redis.flush();
    });
    await settled(under);
    await expectWhole(under);
    const lost = await Promise.all(
      under.of('processor').map((member) => metric(member, 'tripline_processor_claims_lost_total')),
    );
    expect(lost.reduce((sum, count) => sum + count, 0)).toBeGreaterThan(0);
  }, 240_000);

  it('detects on while ClickHouse is away, and fills the lake when it is back', async () => {
    const kong = await kongWithOffenders();
    const under = await fleet({
      roles: ['collector', 'processor', 'archiver', 'responder'],
      kong,
      policies: [{ ...block, actions: [{ type: 'block', duration: '1h' }] }],
    });
    await engines!.clickhouse.kill();
    await send(under);
    await until(async () => (await tagged(kong)).length === loud.length, 'all offenders are blocked', 60_000);
    await engines!.clickhouse.restart();
    await settled(under);
    await expectWhole(under);
  }, 240_000);

  it('gives the same alerts while processors come and go', async () => {
    const under = await fleet({ roles: ['collector', 'processor', 'archiver'] });
    await during(under, 1_000, async () => {
      const second = await under.add('processor');
      await until(
        async () => (await metric(second, 'tripline_processor_calls_total')) > 0,
        'the second works',
      );
      const third = await under.add('processor');
      await under.of('processor')[0]!.kill('SIGTERM');
      await until(async () => (await metric(third, 'tripline_processor_calls_total')) > 0, 'the third works');
      await second.kill('SIGKILL');
      await second.start();
      await under.of('processor')[0]!.start();
    });
    await settled(under);
    await expectWhole(under);
  }, 240_000);

  it('does not let a processor that stalled write over its successor', async () => {
    const under = await fleet({ roles: ['collector', 'processor', 'processor', 'archiver'] });
    const [stalled, other] = under.of('processor') as [Member, Member];
    await during(under, 1_500, async () => {
      await stalled.kill('SIGSTOP');
      const before = await metric(other, 'tripline_processor_calls_total');
      await until(
        async () => /4 of 4 partitions/.test(await (await fetch(`${other.url}/readyz`)).text()),
        'the other one has taken over',
        90_000,
      );
      expect(await metric(other, 'tripline_processor_calls_total')).toBeGreaterThanOrEqual(before);
      await stalled.kill('SIGCONT');
    });
    await settled(under);
    await expectWhole(under);
  }, 240_000);

  it('has another responder act within 10 s when the one that acts dies', async () => {
    const kong = await kongWithOffenders();
    const under = await fleet({
      roles: ['collector', 'processor', 'responder', 'responder'],
      kong,
      policies: [{ ...block, actions: [{ type: 'block', duration: '1h' }] }],
    });
    const acts = async (member: Member): Promise<boolean> =>
      (await metric(member, 'tripline_responder_leader').catch(() => 0)) === 1;
    const responders = under.of('responder');
    await until(async () => (await Promise.all(responders.map(acts))).includes(true), 'one acts');
    const first = (await acts(responders[0]!)) ? responders[0]! : responders[1]!;
    const second = first === responders[0] ? responders[1]! : responders[0]!;
    expect(await acts(second)).toBe(false);
    // Whoever stands by says who acts.
    const refused = await fetch(`${second.url}/responses`);
    expect(refused.status).toBe(503);
    expect(await refused.text()).toMatch(/stands by. Ask the one that acts/);

    await first.kill('SIGKILL');
    const died = Date.now();
    await until(() => acts(second), 'the other one acts');
    expect(Date.now() - died).toBeLessThan(10_000);
    await send(under);
    await until(async () => (await tagged(kong)).length === loud.length, 'all offenders are blocked', 60_000);
    await first.start();
    expect(await acts(first)).toBe(false);
  }, 180_000);

  /** Sends everything, and does something to the fleet once so many lines are taken. */
  async function during(under: Fleet, lineCount: number, work: () => Promise<void>): Promise<void> {
    let done: Promise<void> | undefined;
    await send(under, {
      pauseMs: 60,
      onBatch: (sent) => {
        if (sent >= lineCount) done ??= work();
      },
    });
    await done;
  }
});

/** What of an alert does not depend on how long one waits for its next revision, nor, if need be, on the calls' order. */
function essence({ id, type, actor, startedAt, raisedAt }: Alert, ordered: boolean): object {
  return { id, type, actor, startedAt, ...(ordered ? { raisedAt } : {}) };
}

async function tagged(kong: KongStandIn): Promise<unknown[]> {
  const answer = await fetch(`${kong.adminUrl}/plugins?tags=tripline`);
  return ((await answer.json()) as { data: unknown[] }).data;
}

async function untilNotReady(member: Member): Promise<void> {
  await until(
    async () => (await fetch(`${member.url}/readyz`)).status === 503,
    `${member.role} tells`,
    60_000,
  );
}
