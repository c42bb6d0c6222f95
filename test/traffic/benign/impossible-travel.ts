import { hourMs, minuteMs } from '../calendar.ts';
import { address, drawAddress, movedBlock, networksOf, placeIndex } from '../geo.ts';
import {
  agents,
  clientOf,
  type Device,
  fixedDevice,
  homeOf,
  ipAt,
  mobileDevice,
  person,
  type Person,
  poolDevice,
  sitting,
  sittings,
} from '../people.ts';
import type { Random } from '../random.ts';
import type { Client } from '../request.ts';
import { mixes } from '../site.ts';
import type { Label, Span, Stage } from '../stage.ts';

/** Places that change for a harmless reason. */
export function addTravels(stage: Stage): void {
  const tools = toolsOf(stage);
  for (const add of [
    carrierExit,
    wifiAndCellular,
    corporateVpn,
    privateRelay,
    databaseMovesBlock,
    centroidOnly,
    cloudFleet,
    behindCdn,
    dualStack,
    satellite,
    realFlight,
    firstCalls,
    twoHabitualSites,
  ])
    add(stage, tools);
}

type Tools = ReturnType<typeof toolsOf>;

function toolsOf(stage: Stage) {
  const whole: Span = [stage.startMs, stage.endMs];
  const benign = (letter: string, title: string): Label =>
    stage.benign(`impossible-travel:not-${letter}`, 'impossible-travel', title);
  const human = (
    name: string,
    country: string,
    calls: number,
    label: Label,
    devices: (client: (userAgent: string) => Client, random: Random) => Device[],
    from = stage.startMs,
  ): Person => {
    const who = person(stage, name, { country, mix: mixes.app, devices, from });
    sittings(stage, who, calls, [from, whole[1]], { label, perMinute: 5, meanMs: 4 * minuteMs });
    return who;
  };

  const vpnPlaces = (random: Random, network: number, name: string): string => {
    const vpn = networksOf('vpn')[network]!;
    return address(vpn, placeIndex(vpn, name), 200, random.int(254));
  };
  return { whole, benign, human, vpnPlaces };
}

function carrierExit(_stage: Stage, { benign, human }: Tools): void {
  human('phone-on-carrier', 'FR', 60, benign('a', 'exit city of a carrier hops'), (client, random) => [
    mobileDevice(client(agents.phone[0]), networksOf('mobile', 'FR')[0]!, random),
    mobileDevice(client(agents.phone[0]), networksOf('mobile', 'ES')[0]!, random),
  ]);
}

function wifiAndCellular(_stage: Stage, { benign, human }: Tools): void {
  human(
    'wifi-and-cellular',
    'NO',
    60,
    benign('b', 'Wi-Fi and cellular in turns, every minute'),
    (client, random) => {
      const mine = client(agents.phone[1]);
      const home = homeOf('NO', random);
      const mobile = mobileDevice(mine, networksOf('mobile', 'NO')[0]!, random);
      return [{ client: mine, churn: 0.4, ip: () => (random.chance(0.5) ? home : mobile.ip()) }];
    },
  );
}

function corporateVpn(_stage: Stage, { benign, human, vpnPlaces }: Tools): void {
  human('corporate-vpn', 'DE', 60, benign('c', 'corporate VPN on and off'), (client, random) => {
    const mine = client(agents.browser[0]);
    return [
      fixedDevice(mine, ipAt(random, 'residential', 'DE', 'Munich')),
      fixedDevice(mine, vpnPlaces(random, 1, 'New York')),
    ];
  });
}

function privateRelay(_stage: Stage, { benign, human, vpnPlaces }: Tools): void {
  human('private-relay', 'GB', 60, benign('d', 'private relay and browser VPN'), (client, random) => {
    const mine = client(agents.browser[1]);
    const [relay] = networksOf('relay');
    const exits = ['GB', 'NL', 'FR'].map((country) =>
      drawAddress(relay!, random, placeIndex(relay!, country)),
    );
    return [
      poolDevice(mine, exits, random),
      fixedDevice(mine, homeOf('GB', random)),
      fixedDevice(mine, vpnPlaces(random, 0, 'Singapore')),
    ];
  });
}

function databaseMovesBlock(_stage: Stage, { benign, human }: Tools): void {
  human('moved-block', 'DE', 80, benign('e', 'the database moves the block of an address'), (client) => [
    fixedDevice(
      client(agents.browser[2]),
      address(movedBlock.network, movedBlock.place, movedBlock.block, 9),
    ),
  ]);
}

function centroidOnly(_stage: Stage, { benign, human }: Tools): void {
  human('centroid-only', 'IN', 60, benign('f', 'country-centroid coordinates, no city'), (client, random) => {
    const mine = client(agents.browser[0]);
    // Blocks below 128 of which the database knows the country only come by themselves; many make it likely.
    return Array.from({ length: 12 }, () =>
      fixedDevice(mine, address(networksOf('residential', 'IN')[0]!, random.int(4), random.int(128), 7)),
    );
  });
}

function cloudFleet(_stage: Stage, { benign, human }: Tools): void {
  human('cloud-fleet', 'US', 300, benign('g', 'servers in many regions of a cloud'), (client, random) => {
    const [cloud] = networksOf('hosting');
    const ips = ['New York', 'London', 'Singapore', 'Tokyo', 'Sydney', 'Sao Paulo'].map((name) =>
      address(cloud!, placeIndex(cloud!, name), 140, random.int(254)),
    );
    return [poolDevice(client(agents.server[0]), ips, random)];
  });
}

function behindCdn(_stage: Stage, { benign, human }: Tools): void {
  const proxied = benign('h', 'a CDN in front: every client shows the address of the proxy');
  for (let number = 0; number < 6; number++)
    human(`behind-cdn-${number}`, 'ES', 20, proxied, (client, random) => {
      const [, cdn] = networksOf('hosting');
      return [
        poolDevice(
          client(agents.phone[number % 4]!),
          ['Madrid', 'Paris', 'London'].map((name) => address(cdn!, placeIndex(cdn!, name), 150, 10)),
          random,
        ),
      ];
    });
}

function dualStack(_stage: Stage, { benign, human }: Tools): void {
  human('dual-stack', 'PL', 60, benign('i', 'IPv4 and IPv6 of one line, found apart'), (client, random) => {
    const mine = client(agents.phone[2]);
    return [
      poolDevice(
        mine,
        [ipAt(random, 'residential', 'PL', 'Warsaw'), ipAt(random, 'residential', 'PL', 'Gdansk', true)],
        random,
      ),
    ];
  });
}

function satellite(_stage: Stage, { benign, human }: Tools): void {
  human(
    'aboard',
    'NO',
    40,
    benign('j', 'satellite, aircraft, roaming through the home country'),
    (client, random) => {
      const mine = client(agents.phone[3]);
      const [sky] = networksOf('satellite');
      return [
        fixedDevice(mine, address(sky!, placeIndex(sky!, 'Seattle'), 130, 3)),
        mobileDevice(mine, networksOf('mobile', 'NO')[0]!, random),
      ];
    },
  );
}

function realFlight(stage: Stage, { benign, human }: Tools): void {
  const flight = benign('k', 'a real flight, Oslo to New York in 8 h');
  const flyer = human('flyer', 'NO', 60, flight, (client, random) => [
    fixedDevice(client(agents.browser[1]), ipAt(random, 'residential', 'NO', 'Oslo')),
  ]);
  const departs = stage.day(0.6) + 8 * hourMs;
  sitting(stage, flyer, flyer.devices[0]!, departs, 5 * minuteMs, 4, flight);
  const abroad = fixedDevice(flyer.devices[0]!.client, ipAt(flyer.random, 'business', 'US', 'New York'));
  stage.at([departs + 8 * hourMs], (atMs) => {
    // While it is away, nothing comes from home.
    flyer.devices[0] = abroad;
    sitting(stage, flyer, abroad, atMs, 10 * minuteMs, 4, flight);
  });
}

function firstCalls(stage: Stage, { benign }: Tools): void {
  const first = benign('l', 'first calls of a consumer from two far places');
  for (let number = 0; number < 3; number++) {
    const at = stage.day(0.5) + (8 + number) * hourMs;
    const who = person(stage, `first-seen-${number}`, { mix: mixes.app, from: at });
    stage.at([at], (atMs) => {
      const client = clientOf(who.consumer, agents.phone[0], who.random);
      sitting(
        stage,
        who,
        fixedDevice(client, ipAt(who.random, 'residential', 'DE', 'Berlin')),
        atMs,
        minuteMs,
        3,
        first,
      );
      sitting(
        stage,
        who,
        fixedDevice(client, ipAt(who.random, 'residential', 'BR', 'Recife')),
        atMs + 20 * minuteMs,
        minuteMs,
        3,
        first,
      );
    });
  }
}

function twoHabitualSites(_stage: Stage, { benign, human }: Tools): void {
  const two = benign('m', 'shared key with two habitual sites');
  two.tolerates = { types: ['credential-sharing'], most: 1 };
  human('two-sites', 'GB', 120, two, (client, random) => [
    fixedDevice(client(agents.server[1]), ipAt(random, 'business', 'GB', 'London')),
    fixedDevice(client(agents.server[1]), ipAt(random, 'business', 'JP', 'Tokyo')),
  ]);
}
