import { hourMs, minuteMs, secondMs } from '../calendar.ts';
import { countryOf, type NetworkKind } from '../geo.ts';
import { agents, clientOf, type Device, type Person, sitting } from '../people.ts';
import { request, routes } from '../site.ts';
import type { Label, Stage } from '../stage.ts';
import { german, round, resident, thief } from './common.ts';

/** A stolen credential is used far from its owner. */
export function addTravel(stage: Stage): void {
  const tools = toolsOf(stage);
  for (const add of [farAndFast, afterGuessing, tokenReplay, withinOneCountry, interleaved])
    add(stage, tools);
}

type Tools = ReturnType<typeof toolsOf>;

function toolsOf(stage: Stage) {
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
  return { attack, steal };
}

function farAndFast(_stage: Stage, { steal }: Tools): void {
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
}

function afterGuessing(stage: Stage, { steal }: Tools): void {
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
}

function tokenReplay(_stage: Stage, { steal }: Tools): void {
  steal(
    5,
    'token replay: same key, other class of network and user agent within 60 s',
    ['FR', 'Paris'],
    ['hosting', 'SG', 'Singapore', agents.tool[5]],
    minuteMs,
  );
}

function withinOneCountry(_stage: Stage, { steal }: Tools): void {
  steal(
    6,
    'same country, 1,750 km in 5 min',
    ['US', 'New York'],
    ['residential', 'US', 'Miami', agents.tool[3]],
    5 * minuteMs,
  );
}

function interleaved(stage: Stage, { attack }: Tools): void {
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
