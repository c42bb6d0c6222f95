import { dayMs, drawProfile, minuteMs, secondMs, type Profile } from './calendar.ts';
import { countries, countryOf, drawAddress, networksOf } from './geo.ts';
import { hashOf, type Random } from './random.ts';
import type { Client, Request } from './request.ts';
import { act, agents, clientOf, homeOf, households, officeOf, person, sittings } from './people.ts';
import { brands, drawOperation, drawStatus, mixes, operations, request, routes, type Brand } from './site.ts';
import type { Stage } from './stage.ts';

/** Requests of a consumer per day, on average over the crowd. */
const callsPerConsumerDay = 120;
/** The top 1 % of 2,000 send a quarter of all requests. */
const zipfSlope = 0.8;
const most = 14;
/** The main shop has so many times the users of each other brand. */
const brandDivisor = 4;

/** The many: consumers of all sizes and kinds, people who log in, and visitors without a name. */
export function addCrowd(stage: Stage): void {
  const ranks = Array.from({ length: stage.crowd }, (_, index) => (index + 1) ** -zipfSlope);
  const unit = (callsPerConsumerDay * stage.crowd) / ranks.reduce((sum, one) => sum + one, 0);
  for (const [index, size] of ranks.entries()) addConsumer(stage, index + 1, size * unit);
  for (const brand of [null, ...brands]) addUsers(new Users(stage, brand));
  addVisitors(stage);
}

function addConsumer(stage: Stage, rank: number, callsPerDay: number): void {
  const name = `partner-${rank}`;
  const random = stage.random(`crowd ${rank}`);
  const country = random.pick(countries.slice(0, most)).code;
  // A fifth comes later.
  const from = random.chance(0.2)
    ? stage.startMs + random.next() * 0.7 * (stage.endMs - stage.startMs)
    : stage.startMs;
  const span = [from, stage.endMs] as const;
  const kind = random.next();
  if (kind < 0.05) return addMachine(stage, name, country, callsPerDay, span, random);
  const [devices, mix, perMinute] =
    kind < 0.38
      ? [households.phone(country), mixes.app, 4 + random.int(8)]
      : kind < 0.65
        ? [households.office(country), mixes.office, 3 + random.int(6)]
        : kind < 0.7
          ? [households.family(country), mixes.app, 4 + random.int(6)]
          : [households.servers(country), mixes.server, 6 + random.int(24)];
  const who = person(stage, name, { country, mix, devices, from });
  // Large ones are many people behind one key.
  const parts = Math.min(10, Math.max(1, Math.ceil(callsPerDay / 400)));
  for (let part = 0; part < parts; part++)
    sittings(stage, who, callsPerDay / parts, span, { perMinute, crowd: true });
}

/** Constant, hourly, nightly or monthly jobs. */
function addMachine(
  stage: Stage,
  name: string,
  country: string,
  callsPerDay: number,
  span: readonly [number, number],
  random: Random,
): void {
  const who = person(stage, name, { country, mix: mixes.server, from: span[0] });
  const device = who.devices[0]!;
  const { zone } = countryOf(country);
  const job = (calls: number, gapMs: number) => (atMs: number) => {
    if (atMs < span[0]) return;
    for (let call = 0; call < calls; call++)
      stage.send(act(stage, who, device, device.ip(), atMs + call * gapMs, operations.export));
  };
  const kind = random.next();
  if (kind < 0.4) {
    const gapMs = dayMs / callsPerDay;
    stage.every(random, span, gapMs, 0.1, (atMs) => stage.send(act(stage, who, device, device.ip(), atMs)));
  } else if (kind < 0.6) {
    const calls = Math.max(2, Math.round(callsPerDay / 24));
    stage.every(random, [stage.startMs, stage.endMs], 3_600_000, 0.01, job(calls, random.between(200, 900)));
  } else if (kind < 0.85)
    stage.daily(
      random,
      zone,
      random.int(6),
      2 * minuteMs,
      job(Math.round(callsPerDay), random.between(100, 500)),
    );
  else
    stage.daily(
      random,
      zone,
      random.int(6),
      2 * minuteMs,
      job(Math.round(callsPerDay * 8), random.between(100, 400)),
      (day) => new Date(day).getUTCDate() === 1,
    );
}

/** People with an account who log in: where they live, and what they use. */
export class Users {
  readonly stage: Stage;
  /** Null: of the main shop. */
  readonly brand: Brand | null;
  readonly count: number;
  readonly #homes = new Map<number, { ip: string; client: Client; country: string }>();

  constructor(stage: Stage, brand: Brand | null = null) {
    this.stage = stage;
    this.brand = brand;
    this.count = Math.max(600, (stage.crowd * 3) / (brand === null ? 1 : brandDivisor));
  }

  /** Logins per minute at the peak. */
  get perMinute(): number {
    return Math.max(0.5, this.stage.crowd / 500 / (this.brand === null ? 1 : brandDivisor));
  }

  name(index: number): string {
    return `${this.brand === null ? '' : `${this.brand}-`}user${index}`;
  }

  password(index: number): string {
    return `right-${hashOf(`password ${this.name(index)}`, this.stage.seed)}`;
  }

  /** The user's usual address (home or office) and client. */
  home(index: number): { ip: string; client: Client; country: string } {
    let home = this.#homes.get(index);
    if (!home) {
      const random = this.stage.random(`user ${this.brand ?? ''}${index}`);
      const country = random.pick(countries.slice(0, most)).code;
      const ip = random.chance(0.3) ? officeOf(country, random) : homeOf(country, random);
      const client = clientOf(null, random.pick(random.chance(0.5) ? agents.browser : agents.phone), random);
      this.#homes.set(index, (home = { ip, client, country }));
    }
    return home;
  }

  login(index: number, ip: string, client: Client, atMs: number, right: boolean, random: Random): Request {
    const [at, path] =
      this.brand === null
        ? [routes.login, '/accounts/login']
        : [routes.brandLogin, `/brands/${this.brand}/login`];
    const one = request(client, ip, atMs, at, 'POST', path, null, random, 350, 80);
    one.status = right ? 200 : 401;
    one.login = {
      user: this.name(index),
      password: right ? this.password(index) : `wrong-${random.int(1_000_000)}`,
    };
    return one;
  }

  /** What somebody does with an account that is open: a few reads with a bearer token. */
  reads(
    index: number,
    ip: string,
    client: Client,
    atMs: number,
    random: Random,
    send: (one: Request) => void,
  ): void {
    const bearer = `session-${this.name(index)}-${Math.floor(atMs)}`;
    let at = atMs;
    for (let left = 2 + random.int(5); left > 0; left--) {
      at += random.exponential(8 * secondMs) + 500;
      const has = { account: 100_000 + index, orders: [900_000 + index], nextOrder: () => 0 };
      const operation = random.pick([operations.me, operations.user, operations.transaction]);
      const one = operation({ site: this.stage.site, client, ip, atMs: at, random, has });
      one.bearer = bearer;
      send(one);
    }
  }
}

/** People log in on working days; one in ten attempts fails, and they try again at once. */
function addUsers(users: Users): void {
  const { stage } = users;
  const random = stage.random(`logins ${users.brand ?? ''}`);
  const zone = countryOf('DE').zone;
  // The morning is the peak.
  const morning = [
    0.1, 0.06, 0.05, 0.05, 0.06, 0.1, 0.25, 0.6, 1, 1, 0.8, 0.65, 0.6, 0.6, 0.55, 0.55, 0.5, 0.5, 0.5, 0.5,
    0.45, 0.4, 0.3, 0.2,
  ];
  const profile: Profile = { zone, hours: morning, free: 0.5 };
  stage.poisson(
    random,
    [stage.startMs, stage.endMs],
    users.perMinute * stage.crowdHeadroom,
    stage.crowdShare(profile),
    (atMs) => {
      const index = Math.floor(users.count * random.next() ** 2);
      const { ip: usual, client, country } = users.home(index);
      const ip = random.chance(0.25)
        ? drawAddress(random.pick(networksOf('mobile', country)), random)
        : usual;
      const [from, until] = stage.world.rotation;
      const failing = atMs >= from && atMs < until ? 0.45 : 0.105;
      let at = atMs;
      while (random.chance(failing)) {
        stage.send(users.login(index, ip, client, at, false, random));
        at += 4 * secondMs + random.exponential(15 * secondMs);
        if (random.chance(0.1)) return;
      }
      stage.send(users.login(index, ip, client, at, true, random));
      users.reads(index, ip, client, at, random, (one) => stage.send(drawStatus(one, random)));
    },
  );
}

/** Without a key on the public catalogue; four in ten come once and never again. */
function addVisitors(stage: Stage): void {
  const random = stage.random('visitors');
  const profile = drawProfile(countryOf('DE').zone, random);
  const known: { ip: string; client: Client }[] = [];
  const has = { account: 0, orders: [0], nextOrder: () => 0 };
  stage.poisson(
    random,
    [stage.startMs, stage.endMs],
    Math.max(0.3, stage.crowd / 800) * stage.crowdHeadroom,
    stage.crowdShare(profile),
    (atMs) => {
      let visitor = random.chance(0.5) ? known[random.int(known.length)] : undefined;
      if (!visitor) {
        const country = random.pick(countries.slice(0, most)).code;
        const ip = random.chance(0.6)
          ? homeOf(country, random)
          : drawAddress(random.pick(networksOf('mobile', country)), random);
        visitor = {
          ip,
          client: clientOf(null, random.pick(random.chance(0.6) ? agents.browser : agents.phone), random),
        };
        if (known.length < 200) known.push(visitor);
        else if (random.chance(0.3)) known[random.int(200)] = visitor;
      }
      const { ip, client } = visitor;
      stage.send(
        drawStatus(
          drawOperation(mixes.visitor, random)({ site: stage.site, client, ip, atMs, random, has }),
          random,
        ),
      );
    },
  );
}
