import { secondMs } from '../calendar.ts';
import { address, drawAddress, networksOf, placeIndex } from '../geo.ts';
import {
  agents,
  clientOf,
  type Device,
  fixedDevice,
  households,
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

/** Credentials that are used in several places for a harmless reason. */
export function addShared(stage: Stage): void {
  const whole: Span = [stage.startMs, stage.endMs];
  const benign = (letter: string, title: string): Label =>
    stage.benign(`credential-sharing:not-${letter}`, 'credential-sharing', title);
  const sits = (
    name: string,
    label: Label,
    calls: number,
    country: string,
    devices: (client: (userAgent: string) => Client, random: Random) => Device[],
  ): Person => {
    const who = person(stage, name, { country, mix: mixes.app, devices });
    sittings(stage, who, calls, whole, { label, perMinute: 5 });
    return who;
  };
  sits('family', benign('a', 'phone, laptop and office of one user'), 80, 'ES', households.family('ES'));
  sits('sales-person', benign('b', 'roaming sales person'), 60, 'NL', (client, random) =>
    ['NL', 'DE', 'FR', 'GB'].flatMap((country) => [
      mobileDevice(client(agents.phone[1]), networksOf('mobile', country)[0]!, random),
    ]),
  );
  const runners = benign('c', 'CI runners, 200 addresses a day of one cloud');
  const ci = person(stage, 'ci-runner', { mix: mixes.server });
  const [cloud] = networksOf('hosting');
  const ciClient = clientOf(ci.consumer, 'Go-http-client/2.0', ci.random);
  stage.poisson(ci.random, whole, 200 / 1_440, null, (atMs) =>
    sitting(
      stage,
      ci,
      fixedDevice(ciClient, drawAddress(cloud!, ci.random, placeIndex(cloud!, 'New York'))),
      atMs,
      20 * secondMs,
      12,
      runners,
    ),
  );
  const rotation = benign('d', 'key rotation with overlap');
  const rotating = sits('rotating-key', rotation, 80, 'DE', households.servers('DE'));
  const renewed = {
    ...rotating,
    consumer: {
      ...rotating.consumer,
      key: `demo-${rotating.random.hex(24)}`,
      credentialId: rotating.random.uuid(),
    },
  };
  renewed.devices = rotating.devices.map((device) => ({
    ...device,
    client: { ...device.client, consumer: renewed.consumer },
  }));
  sittings(stage, renewed, 80, [stage.day(0.6), stage.endMs], { label: rotation, perMinute: 5 });
  const colours = benign('e', 'blue and green deployment of a partner');
  sits('blue-green', colours, 200, 'US', (client, random) => {
    const [, blue, green] = networksOf('hosting');
    return [
      fixedDevice(client('axios/1.7.2'), drawAddress(blue!, random, placeIndex(blue!, 'US'))),
      fixedDevice(client('axios/1.7.3'), drawAddress(green!, random, placeIndex(green!, 'US'))),
    ];
  });
  sits('carrier-churn', benign('f', 'mobile carrier, 20 addresses a day'), 80, 'IN', (client, random) => [
    mobileDevice(client(agents.phone[0]), networksOf('mobile', 'IN')[0]!, random),
  ]);
  sits('two-stacks-of-ip', benign('g', 'IPv4 and IPv6'), 80, 'FR', (client, random) => [
    poolDevice(
      client(agents.phone[3]),
      [ipAt(random, 'residential', 'FR', 'Lyon'), ipAt(random, 'residential', 'FR', 'Lyon', true)],
      random,
    ),
  ]);
  const nat = benign('h', 'many consumers behind one carrier-grade NAT');
  const shared = address(networksOf('mobile', 'BR')[0]!, 0, 140, 9);
  for (let number = 0; number < 15; number++)
    sits(`behind-nat-${number}`, nat, 20, 'BR', (client) => [
      fixedDevice(client(agents.phone[number % 4]!), shared),
    ]);
}
