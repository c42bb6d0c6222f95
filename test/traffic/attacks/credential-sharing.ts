import { dayMs, minuteMs, secondMs } from '../calendar.ts';
import { address, countryOf, drawAddress, networks, networksOf, placeIndex } from '../geo.ts';
import { agents, clientOf, type Device, fixedDevice, type Person, sitting } from '../people.ts';
import type { Random } from '../random.ts';
import type { Label, Stage } from '../stage.ts';
import { atMost, resident, thief } from './common.ts';

/** One credential is used by several people. */
export function addSharing(stage: Stage): void {
  const tools = toolsOf(stage);
  for (const add of [fromManyCountries, leakedPublicly, resold, twoClientStacks, slowLeak]) add(stage, tools);
}

type Tools = ReturnType<typeof toolsOf>;

function toolsOf(stage: Stage) {
  const attack = (number: number, title: string, parameters: Label['parameters'] = {}): Label =>
    stage.attack(`credential-sharing:${number}`, 'credential-sharing', title, parameters);
  const daysMs = atMost(stage, 3 * dayMs, 0.3);
  const from = (random: Random): number => stage.day(random.between(0.5, 0.65));
  const others = (who: Person, list: readonly [country: string, userAgent: string][]): Device[] =>
    list.map(([country, userAgent]) =>
      thief(who, 'residential', country, countryOf(country).cities[0]![0], userAgent),
    );
  return { attack, daysMs, from, others };
}

function fromManyCountries(stage: Stage, { attack, daysMs, from, others }: Tools): void {
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

function leakedPublicly(stage: Stage, { attack, from }: Tools): void {
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

function resold(stage: Stage, { attack, daysMs, from, others }: Tools): void {
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

function twoClientStacks(stage: Stage, { attack, daysMs, from }: Tools): void {
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

function slowLeak(stage: Stage, { attack, from, others }: Tools): void {
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
