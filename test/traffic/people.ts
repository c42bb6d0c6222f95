import {
  dayMs,
  drawProfile,
  hourMs,
  meanShare,
  minuteMs,
  profileOf,
  shareAt,
  type Profile,
} from './calendar.ts';
import { address, countryOf, drawAddress, networksOf, placeIndex, type Network } from './geo.ts';
import type { Random } from './random.ts';
import type { Client, Consumer, Request } from './request.ts';
import { drawOperation, drawStatus, mixes, type Belongings, type Mix, type Operation } from './site.ts';
import type { Label, Span, Stage } from './stage.ts';

/** User agents by family of client. */
export const agents = {
  phone: [
    'okhttp/4.12.0',
    'ExampleApp/7.3.1 (iOS 17.5; iPhone15,2)',
    'ExampleApp/7.2.0 (Android 14; Pixel 8)',
    'Dart/3.4 (dart:io)',
  ],
  browser: [
    'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36',
    'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15',
    'Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0',
  ],
  server: [
    'python-requests/2.32.3',
    'Go-http-client/2.0',
    'axios/1.7.2',
    'Apache-HttpClient/4.5.14 (Java/17.0.11)',
    'GuzzleHttp/7',
  ],
  tool: [
    'curl/8.5.0',
    'python-requests/2.31.0',
    'Go-http-client/1.1',
    'PostmanRuntime/7.39.0',
    'Wget/1.21.4',
    'aiohttp/3.9.5',
  ],
} as const;

/** A program of somebody on a machine: with what, and from which address at each sitting. */
export interface Device {
  client: Client;
  /** Address of the next sitting. */
  ip: () => string;
  /** Odds that the address changes from one request to the next, as mobile networks do. */
  churn: number;
}

export interface Person {
  name: string;
  consumer: Consumer;
  devices: Device[];
  has: Belongings;
  mix: Mix;
  random: Random;
  profile: Profile;
  country: string;
}

export function clientOf(consumer: Consumer | null, userAgent: string, random: Random): Client {
  const cookie = userAgent.startsWith('Mozilla')
    ? `sid=${random.hex(16)}; theme=${random.pick(['dark', 'light'])}`
    : null;
  return { consumer, userAgent, cookie };
}

/** Always from the same address. */
export function fixedDevice(client: Client, ip: string): Device {
  return { client, ip: () => ip, churn: 0 };
}

/** From a carrier: another address, and often another exit city, at most sittings. */
export function mobileDevice(client: Client, network: Network, random: Random): Device {
  let ip = drawAddress(network, random);
  return {
    client,
    churn: 0.03,
    ip: () => {
      if (random.chance(0.6)) ip = drawAddress(network, random);
      return ip;
    },
  };
}

/** From any of several addresses, each time another: server fleets, pools of a proxy. */
export function poolDevice(client: Client, ips: readonly string[], random: Random): Device {
  return { client, churn: 0.3, ip: () => random.pick(ips) };
}

/** An address that is found at this place by the operator's database. */
export function ipAt(
  random: Random,
  kind: Network['kind'],
  country: string,
  city?: string,
  v6 = false,
): string {
  const network = random.pick(networksOf(kind, country));
  const place = placeIndex(network, city ?? random.pick(countryOf(country).cities)[0]);
  // Blocks from 128 on are found where they are; the very last one moves.
  return address(network, place, 128 + random.int(127), random.int(254), v6);
}

export interface PersonOptions {
  country?: string;
  tags?: readonly string[];
  mix?: Mix;
  profile?: Profile;
  /** Devices are made by the caller from these. */
  devices?: (client: (userAgent: string) => Client, random: Random) => Device[];
  /** From here on it is a consumer; default: the beginning. */
  from?: number;
}

/** A Kong consumer with what belongs to it. Counts its days. */
export function person(stage: Stage, name: string, options: PersonOptions = {}): Person {
  const random = stage.random(`person ${name}`);
  const country = options.country ?? 'DE';
  const consumer: Consumer = {
    id: random.uuid(),
    username: name,
    customId: `cust-${random.hex(6)}`,
    tags: options.tags ?? [],
    credentialId: random.uuid(),
    key: `demo-${random.hex(24)}`,
  };
  stage.consumerDays.set(consumer.id, (stage.endMs - Math.max(stage.startMs, options.from ?? 0)) / dayMs);
  const client = (userAgent: string): Client => clientOf(consumer, userAgent, random);
  const nextOrder = (atMs: number): number =>
    1_000_000 + Math.floor((atMs - stage.startMs) / 20_000) + random.int(3);
  const has: Belongings = {
    account: 1_000 + random.int(60_000),
    orders: Array.from({ length: 12 }, () => 400_000 + random.int(600_000)),
    nextOrder,
  };
  return {
    name,
    consumer,
    has,
    random,
    country,
    mix: options.mix ?? mixes.server,
    profile: options.profile ?? drawProfile(countryOf(country).zone, random),
    devices: options.devices?.(client, random) ?? [
      fixedDevice(client(random.pick(agents.server)), ipAt(random, 'hosting', country)),
    ],
  };
}

/** One ordinary request of the person; `operation` instead of what it would do by itself. */
export function act(
  stage: Stage,
  who: Person,
  device: Device,
  ip: string,
  atMs: number,
  operation?: Operation,
): Request {
  const { random, has } = who;
  const chosen = operation ?? drawOperation(who.mix, random);
  return drawStatus(chosen({ site: stage.site, client: device.client, ip, atMs, random, has }), random);
}

/** A sitting: requests one after another from one device. */
export function sitting(
  stage: Stage,
  who: Person,
  device: Device,
  atMs: number,
  lengthMs: number,
  perMinute: number,
  label: Label | null = null,
  operation?: Operation,
): void {
  let ip = device.ip();
  const gapMs = minuteMs / perMinute;
  for (let at = atMs; at < atMs + lengthMs; at += who.random.exponential(gapMs)) {
    if (device.churn > 0 && who.random.chance(device.churn)) ip = device.ip();
    stage.send(act(stage, who, device, ip, at, operation), label);
  }
}

/**
 * Sittings with Pareto lengths and pauses (alpha 1.2 to 1.4), on average `callsPerDay` in all. Lengths are cut at three
 * hours.
 */
export function sittings(
  stage: Stage,
  who: Person,
  callsPerDay: number,
  span: Span,
  options: { perMinute?: number; meanMs?: number; label?: Label | null; crowd?: boolean } = {},
): void {
  const { random, profile } = who;
  const { perMinute = 3 + random.int(9), meanMs = random.between(2, 8) * minuteMs, label = null } = options;
  const alpha = random.between(1.2, 1.4);
  const perDayAtPeak = callsPerDay / (perMinute * (meanMs / minuteMs)) / meanShare(profile);
  const share = options.crowd === true ? stage.crowdShare(profile) : (atMs: number) => shareAt(profile, atMs);
  const gapMs = dayMs / (perDayAtPeak * (options.crowd === true ? stage.crowdHeadroom : 1));
  let at = Math.max(span[0], stage.startMs) + random.next() * gapMs;
  const next = (): number => {
    for (;;) {
      at += random.pareto(gapMs, alpha + 0.2, 20 * gapMs);
      if (at >= span[1]) return Infinity;
      if (random.next() < share(at)) return at;
    }
  };
  stage.add({
    nextAt: next(),
    advance: next,
    act: (begin) => {
      const length = random.pareto(meanMs, alpha, 3 * hourMs);
      sitting(stage, who, random.pick(who.devices), begin, length, perMinute, label);
    },
  });
}

/** The rest of the devices that kinds of people have. */
export const households = {
  /** A phone, at the carrier and in the Wi-Fi at home. */
  phone: (country: string) => (client: (userAgent: string) => Client, random: Random) => {
    const mine = client(random.pick(agents.phone));
    return [
      mobileDevice(mine, random.pick(networksOf('mobile', country)), random),
      fixedDevice(mine, homeOf(country, random)),
    ];
  },
  office: (country: string) => (client: (userAgent: string) => Client, random: Random) => {
    const mine = client(random.pick(agents.browser));
    return [fixedDevice(mine, officeOf(country, random)), fixedDevice(mine, homeOf(country, random))];
  },
  family: (country: string) => (client: (userAgent: string) => Client, random: Random) => [
    ...households.phone(country)(client, random),
    ...households.office(country)(client, random),
  ],
  servers: (country: string) => (client: (userAgent: string) => Client, random: Random) => {
    const mine = client(random.pick(agents.server));
    const network = random.pick(networksOf('hosting'));
    const place = placeIndex(network, country);
    return Array.from({ length: 1 + random.int(3) }, () =>
      fixedDevice(mine, drawAddress(network, random, place)),
    );
  },
};

/** Some homes have IPv6. */
export function homeOf(country: string, random: Random): string {
  const network = random.pick(networksOf('residential', country));
  return address(
    network,
    random.int(network.places.length),
    random.int(256),
    random.int(254),
    random.chance(0.25),
  );
}

/** Few offices, so that many people share one address. */
export function officeOf(country: string, random: Random): string {
  const [network] = networksOf('business', country);
  return address(network!, random.int(network!.places.length), random.int(3), 1 + random.int(2));
}

/** A steady consumer with its working day: Poisson requests, `perMinute` at the peak. */
export function steady(
  stage: Stage,
  name: string,
  perMinute: number,
  options: PersonOptions & {
    peakToTrough?: number;
    label?: Label | null;
    operation?: (atMs: number, who: Person) => Operation | undefined;
    factor?: (atMs: number) => number;
    mostFactor?: number;
    until?: number;
    /** The label of a request at this time, where it is not always the same. */
    labelAt?: (atMs: number) => Label | null;
    change?: (one: Request) => void;
  } = {},
): Person {
  const zone = countryOf(options.country ?? 'DE').zone;
  const profile = options.profile ?? profileOf(zone, options.peakToTrough ?? 4, 13, 0.3);
  const who = person(stage, name, { ...options, profile });
  const device = who.devices[0]!;
  const most = options.mostFactor ?? 1;
  const { factor } = options;
  stage.poisson(
    who.random,
    [options.from ?? stage.startMs, options.until ?? stage.endMs],
    perMinute * most,
    (atMs) => (shareAt(profile, atMs) * (factor?.(atMs) ?? 1)) / most,
    (atMs) => {
      const one = act(stage, who, device, device.ip(), atMs, options.operation?.(atMs, who));
      options.change?.(one);
      stage.send(one, options.labelAt?.(atMs) ?? options.label ?? null);
    },
  );
  return who;
}
