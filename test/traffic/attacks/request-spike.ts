import { dayMs, hourMs, minuteMs, profileOf } from '../calendar.ts';
import { drawAddress, networksOf, placeIndex } from '../geo.ts';
import { act, fixedDevice, person, sittings, steady } from '../people.ts';
import { type Mix, mixes, operations } from '../site.ts';
import type { Label, Span, Stage } from '../stage.ts';
import { german, inSpan, round } from './common.ts';

/** Spikes: a consumer sends, or costs, more than it ever did. */
export function addSpikes(stage: Stage): void {
  const tools = toolsOf(stage);
  for (const add of [
    atPeak,
    atNight,
    onOneEndpoint,
    slowRamp,
    pulsing,
    overManyKeys,
    suddenStop,
    heavierCalls,
    onConsecutiveDays,
  ])
    add(stage, tools);
}

type Tools = ReturnType<typeof toolsOf>;

function toolsOf(stage: Stage) {
  const attack = (number: number, title: string, parameters: Label['parameters'] = {}): Label =>
    stage.attack(`request-spike:${number}`, 'request-spike', title, parameters);
  /** The victims' own past: long enough to be learnt, short enough to be cheap. */
  const past = (atMs: number, leastDays = 0): number =>
    Math.max(stage.startMs, atMs - Math.max(stage.pastDays, leastDays) * dayMs);
  const after = (atMs: number): number => Math.min(stage.endMs, atMs + 3 * hourMs);
  /** A steady consumer whose rate is multiplied within the span; all it sends in the span belongs to the attack. */
  const multiplied = (
    name: string,
    perMinute: number,
    span: Span,
    factor: number,
    label: Label,
    pulse: (atMs: number) => boolean = () => true,
  ): void => {
    const on = (atMs: number): boolean => inSpan(span, atMs) && pulse(atMs);
    steady(stage, name, perMinute, {
      // Five days at least: a run that is short in everything else finds the plainest spikes.
      from: past(span[0], 5),
      until: after(span[1]),
      mostFactor: factor,
      factor: (at) => (on(at) ? factor : 1),
      labelAt: (at) => (on(at) ? label : null),
    });
  };
  return { attack, past, after, multiplied };
}

function atPeak(stage: Stage, { attack, multiplied }: Tools): void {
  const random = stage.random('spike 1');
  const factor = random.between(5, 7);
  const at = stage.workday(random, german, random.between(11, 15));
  const label = attack(1, '×5 for 10 min on one consumer at peak', { factor: round(factor) });
  multiplied('victim-peak', 25, [at, at + 10 * minuteMs], factor, label);
}

function atNight(stage: Stage, { attack, past }: Tools): void {
  const random = stage.random('spike 2');
  const at = stage.workday(random, german, 3, 0.5);
  const span: Span = [at, at + 20 * minuteMs];
  const label = attack(2, '×5 at 03:00, below the daytime maximum', { factor: 5, minutes: 20 });
  steady(stage, 'victim-night', 70, {
    from: past(at),
    until: at + 3 * hourMs,
    profile: profileOf(german, 8, 13, 0.6, 4),
    mostFactor: 1,
    // At the trough the rate is an eighth of the peak's; five times that is still below it.
    factor: (time) => (inSpan(span, time) ? 5 : 1),
    labelAt: (time) => (inSpan(span, time) ? label : null),
  });
}

function onOneEndpoint(stage: Stage, { attack, past, after }: Tools): void {
  const expensive: Mix = [...mixes.server, [operations.render, 0.4]];
  for (const [number, name, minutes, share] of [
    [3, 'victim-endpoint', 15, 0.9],
    [9, 'victim-cost', 60, 0.75],
  ] as const) {
    const random = stage.random(`spike ${number}`);
    const at = stage.workday(random, german, random.between(11, 14));
    const span: Span = [at, at + minutes * minuteMs];
    const title =
      number === 3
        ? 'spike on one endpoint only, total within normal'
        : 'calls shift to an expensive endpoint';
    const label = attack(number, title, { share, minutes });
    steady(stage, name, 20, {
      mix: number === 3 ? mixes.server : expensive,
      from: past(at),
      until: after(span[1]),
      operation: (time, who) =>
        inSpan(span, time) && who.random.chance(share)
          ? number === 3
            ? operations.transfer
            : operations.render
          : undefined,
      labelAt: (time) => (inSpan(span, time) ? label : null),
    });
  }
}

function slowRamp(stage: Stage, { attack, past }: Tools): void {
  const random = stage.random('spike 4');
  const lengthMs = 3 * dayMs;
  const from = stage.day(random.between(0.5, 0.65));
  const span: Span = [from, Math.min(from + lengthMs, stage.endMs)];
  const label = attack(4, 'slow ramp, +5 %/h for 3 days', { growthPerHour: 1.05 });
  const factor = (at: number): number => 1.05 ** ((at - from) / hourMs);
  steady(stage, 'victim-ramp', 4, {
    from: past(from),
    until: span[1],
    mostFactor: 34,
    factor: (at) => (inSpan(span, at) ? factor(at) : 1),
    labelAt: (at) => (inSpan(span, at) ? label : null),
  });
}

function pulsing(stage: Stage, { attack, multiplied }: Tools): void {
  const random = stage.random('spike 5');
  const at = stage.workday(random, german, 10);
  const factor = random.between(10, 16);
  const label = attack(5, 'pulsing: 1 min on, 9 min off', { factor: round(factor), hours: 3 });
  const phase = random.int(10);
  multiplied(
    'victim-pulses',
    12,
    [at, at + 3 * hourMs],
    factor,
    label,
    (time) => (Math.floor(time / minuteMs) + phase) % 10 === 0,
  );
}

function overManyKeys(stage: Stage, { attack }: Tools): void {
  const random = stage.random('spike 6');
  const at = stage.workday(random, german, random.between(9, 16));
  const keys = 200;
  const label = attack(6, 'spike spread over 200 keys of one tenant and network', {
    keys,
    callsPerKey: 30,
    minutes: 30,
  });
  const [cloud] = networksOf('hosting');
  for (let key = 0; key < keys; key++) {
    const who = person(stage, `tenant-key-${key}`, {
      tags: ['tenant-blue'],
      devices: (client, own) => [
        fixedDevice(client('axios/1.7.2'), drawAddress(cloud!, own, placeIndex(cloud!, 'DE'))),
      ],
    });
    sittings(stage, who, 6, [stage.startMs, stage.endMs], { perMinute: 4, meanMs: minuteMs });
    stage.poisson(who.random, [at, at + 30 * minuteMs], 1, null, (time) =>
      stage.send(act(stage, who, who.devices[0]!, who.devices[0]!.ip(), time, operations.listOrders), label),
    );
  }
}

function suddenStop(stage: Stage, { attack, past, after }: Tools): void {
  const random = stage.random('spike 7');
  const at = stage.workday(random, german, 10);
  const span: Span = [at, at + 6 * hourMs];
  const label = attack(7, 'sudden stop of a steady consumer', { hours: 6 });
  label.optional = true;
  const who = steady(stage, 'victim-stops', 8, {
    from: past(at),
    until: after(span[1]),
    factor: (time) => (inSpan(span, time) ? 0 : 1),
  });
  // Nothing of it is a request.
  [label.startedAt, label.endedAt] = span;
  label.actors.add(`consumer:${who.consumer.id}`);
}

function heavierCalls(stage: Stage, { attack, past, after }: Tools): void {
  const random = stage.random('spike 8');
  const at = stage.workday(random, german, random.between(10, 15));
  const span: Span = [at, at + 30 * minuteMs];
  const factor = 20 + random.int(20);
  const label = attack(8, 'bytes and latency rise, count does not', { factor, minutes: 30 });
  steady(stage, 'victim-bytes', 10, {
    from: past(at),
    until: after(span[1]),
    labelAt: (time) => (inSpan(span, time) ? label : null),
    change: (one) => {
      if (!inSpan(span, one.startedAt)) return;
      one.responseBytes *= factor;
      one.latencyMs *= factor;
    },
  });
}

function onConsecutiveDays(stage: Stage, { attack, past }: Tools): void {
  const random = stage.random('spike 10');
  const first = stage.workday(random, german, 15, 0.4, 0.65);
  const days = Math.min(4, Math.floor((stage.endMs - first) / dayMs));
  const spans = Array.from({ length: days }, (_, day): Span => [
    first + day * dayMs,
    first + day * dayMs + 10 * minuteMs,
  ]);
  const labels = spans.map((_, day) =>
    attack(10, 'the same spike on consecutive days', { day: day + 1, factor: 6 }),
  );
  const which = (time: number): number => spans.findIndex((span) => inSpan(span, time));
  // Flat, so that the weekend's spikes are as high.
  steady(stage, 'victim-daily', 12, {
    profile: profileOf(german, 2, 13, 1),
    from: past(first),
    until: first + days * dayMs,
    mostFactor: 6,
    factor: (time) => (which(time) < 0 ? 1 : 6),
    labelAt: (time) => labels[which(time)] ?? null,
  });
}
