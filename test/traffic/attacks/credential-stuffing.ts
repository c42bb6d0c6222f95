import { dayMs, hourMs, minuteMs, secondMs } from '../calendar.ts';
import { Users } from '../crowd.ts';
import { drawAddress, type NetworkKind, networksOf } from '../geo.ts';
import { agents, clientOf } from '../people.ts';
import type { Random } from '../random.ts';
import type { Client } from '../request.ts';
import { request, routes } from '../site.ts';
import type { Label, Span, Stage } from '../stage.ts';
import { german, atMost, round } from './common.ts';

/** Brute force and credential stuffing. */
export function addStuffing(stage: Stage): void {
  const tools = toolsOf(stage);
  for (const add of [
    oneAccount,
    manyAccounts,
    spraying,
    distributedTries,
    overDays,
    lowAndSlow,
    takeover,
    keyGuessing,
    rotatingClients,
    inLoginPeak,
    verifiedList,
  ])
    add(stage, tools);
}

type Tools = ReturnType<typeof toolsOf>;

function toolsOf(stage: Stage) {
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
  return { main, attack, abroad, victim, clientFor, ipIn, drawn, distributed };
}

function oneAccount(stage: Stage, { main, attack, abroad, victim, clientFor, ipIn, drawn }: Tools): void {
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

function manyAccounts(stage: Stage, { main, attack, abroad, clientFor, ipIn, drawn }: Tools): void {
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

function spraying(stage: Stage, { main, attack, abroad, clientFor, ipIn, drawn }: Tools): void {
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

function distributedTries(stage: Stage, { attack, abroad, drawn, distributed }: Tools): void {
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

function overDays(stage: Stage, { attack, distributed }: Tools): void {
  const random = stage.random('stuffing 5');
  const users = new Users(stage, 'borealis');
  const lengthMs = atMost(stage, 6 * dayMs);
  const from = stage.day(random.between(0.4, 0.55));
  const label = attack(5, '5.4 tries per address over days, ×20 at the peak, residential networks at home', {
    days: lengthMs / dayMs,
  });
  // Twenty times for half an hour a day, else as many as the users themselves.
  const share = (time: number): number =>
    (time - from) % dayMs > 14 * hourMs && (time - from) % dayMs < 14.5 * hourMs ? 1 : 0.05;
  distributed(users, random, label, [from, from + lengthMs], 20 * users.perMinute, share, {
    triesPerAddress: 5.4,
    homes: ['DE', 'NL', 'FR'],
    rotating: true,
  });
}

function lowAndSlow(stage: Stage, { attack, abroad, victim, clientFor, ipIn }: Tools): void {
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
      stage.send(users.login(victim(users, random), ip, client(), time, random.chance(0.003), random), label),
    );
  }
}

function takeover(stage: Stage, { attack, abroad, drawn, distributed }: Tools): void {
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

function keyGuessing(stage: Stage, { attack, abroad, clientFor, ipIn, drawn }: Tools): void {
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
    stage.send(Object.assign(one, { status: 401, byKong: true, wrongKey: `guess-${random.hex(20)}` }), label);
  });
}

function rotatingClients(stage: Stage, { attack, abroad, victim, clientFor, ipIn, drawn }: Tools): void {
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

function inLoginPeak(stage: Stage, { attack, abroad, distributed }: Tools): void {
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

function verifiedList(stage: Stage, { attack, abroad, victim, clientFor, ipIn, drawn }: Tools): void {
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
