import { hourMs, minuteMs, secondMs } from '../calendar.ts';
import { countryOf } from '../geo.ts';
import { act, households, person, sittings, steady } from '../people.ts';
import { mixes, operations, request, routes } from '../site.ts';
import type { Label, Span, Stage } from '../stage.ts';
import { flat } from './common.ts';

/** Traffic that grows for a harmless reason. */
export function addBusyMoments(stage: Stage): void {
  const tools = toolsOf(stage);
  for (const add of [
    batches,
    newConsumer,
    migration,
    tinyConsumers,
    flatMachine,
    announcedLoadTest,
    webhookFanIn,
    heavyTailedBursts,
  ])
    add(stage, tools);
}

type Tools = ReturnType<typeof toolsOf>;

function toolsOf(stage: Stage) {
  const whole: Span = [stage.startMs, stage.endMs];
  const german = countryOf('DE').zone;
  const benign = (letter: string, title: string): Label =>
    stage.benign(`request-spike:not-${letter}`, 'request-spike', title);
  return { whole, german, benign };
}

function batches(stage: Stage, { whole, german, benign }: Tools): void {
  for (const [title, times] of [
    ['batch at the full hour', 'hourly'],
    ['nightly export', 'nightly'],
    ['export on the first of the month', 'monthly'],
  ] as const) {
    const label = benign('b', title);
    if (times === 'monthly') label.tolerates = { types: ['request-spike'], most: 1 };
    const who = person(stage, `batch-${times}`);
    const device = who.devices[0]!;
    const run = (calls: number, gapMs: number) => (atMs: number) => {
      for (let call = 0; call < calls; call++)
        stage.send(act(stage, who, device, device.ip(), atMs + call * gapMs, operations.export), label);
    };
    if (times === 'hourly') stage.every(who.random, whole, hourMs, 0.005, run(40, 700));
    else if (times === 'nightly') stage.daily(who.random, german, 2, 2 * minuteMs, run(900, 300));
    else {
      sittings(stage, who, 60, whole, { label });
      stage.daily(
        who.random,
        german,
        3,
        minuteMs,
        run(1_500, 250),
        (day) => new Date(day).getUTCDate() === 1,
      );
    }
  }
}

function newConsumer(stage: Stage, { benign }: Tools): void {
  const arrives = stage.day(0.4) + 9 * hourMs;
  const fresh = benign('d', 'new consumer');
  const newcomer = person(stage, 'newcomer', { devices: households.servers('DE'), from: arrives });
  sittings(stage, newcomer, 1_500, [arrives, stage.endMs], { perMinute: 25, label: fresh });
}

function migration(stage: Stage, { benign }: Tools): void {
  const moves = stage.day(0.5) + 8 * hourMs;
  const migration = benign('d', 'migration of a large customer: a step that stays');
  migration.tolerates = { types: ['request-spike'], most: 1 };
  steady(stage, 'migrating', 3, { label: migration, factor: (at) => (at < moves ? 1 : 5), mostFactor: 5 });
}

function tinyConsumers(stage: Stage, { whole, benign }: Tools): void {
  const tiny = benign('g', 'tiny consumers, nothing and then five requests');
  for (let number = 0; number < 10; number++) {
    const who = person(stage, `tiny-${number}`, { devices: households.phone('FR'), mix: mixes.app });
    stage.poisson(who.random, whole, 0.8 / 1_440, null, (atMs) => {
      for (let call = 0; call < 5; call++)
        stage.send(act(stage, who, who.devices[0]!, who.devices[0]!.ip(), atMs + call * 900), tiny);
    });
  }
}

function flatMachine(stage: Stage, { whole, benign }: Tools): void {
  const even = benign('h', 'flat machine traffic, one more or less');
  const machine = person(stage, 'meter', { mix: [[operations.getOrder, 1]] });
  stage.every(machine.random, whole, 30 * secondMs, 0.3, (atMs) => {
    stage.send(act(stage, machine, machine.devices[0]!, machine.devices[0]!.ip(), atMs), even);
    if (machine.random.chance(0.01))
      stage.send(act(stage, machine, machine.devices[0]!, machine.devices[0]!.ip(), atMs + 500), even);
  });
}

function announcedLoadTest(stage: Stage, { benign }: Tools): void {
  const announced = benign('i', 'load test in an announced window');
  const test: Span = [stage.day(0.6) + 12 * hourMs, stage.day(0.6) + 12 * hourMs + 40 * minuteMs];
  const tester = steady(stage, 'load-tester', 1, { label: announced });
  stage.exceptions.push({
    consumers: [tester.consumer.username],
    from: new Date(test[0]).toISOString(),
    until: new Date(test[1]).toISOString(),
    owner: 'platform team',
    comment: 'announced load test',
  });
  stage.every(tester.random, test, 250, 0.2, (atMs) =>
    stage.send(act(stage, tester, tester.devices[0]!, tester.devices[0]!.ip(), atMs), announced),
  );
}

function webhookFanIn(stage: Stage, { whole, benign }: Tools): void {
  const fanIn = benign('k', 'webhook fan-in');
  const hook = person(stage, 'webhook-sender', { country: 'US' });
  // Day and night, a few hundred at a time, many times a day.
  stage.poisson(hook.random, whole, 6 / 1_440, null, (atMs) => {
    const calls = 60 + hook.random.int(140);
    for (let call = 0; call < calls; call++) {
      const at = atMs + hook.random.next() * 40 * secondMs;
      const path = `/hooks/partner-${hook.random.int(5)}`;
      stage.send(
        request(
          hook.devices[0]!.client,
          hook.devices[0]!.ip(),
          at,
          routes.hooks,
          'POST',
          path,
          null,
          hook.random,
          200,
        ),
        fanIn,
      );
    }
  });
}

function heavyTailedBursts(stage: Stage, { whole, benign }: Tools): void {
  const bursty = benign('l', 'heavy-tailed bursts');
  // Variance over mean per minute is about the rate within a burst.
  for (const [number, perMinute] of [20, 60, 150, 400].entries()) {
    const who = person(stage, `bursty-${number}`, { profile: flat('DE') });
    sittings(stage, who, 500 + 5 * perMinute, whole, { perMinute, meanMs: minuteMs, label: bursty });
  }
}
