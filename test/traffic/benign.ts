import { dayMs, drawProfile, hourMs, minuteMs, profileOf, secondMs, shareAt } from './calendar.ts';
import { address, countryOf, drawAddress, movedBlock, networksOf, placeIndex } from './geo.ts';
import { Users } from './crowd.ts';
import {
  act,
  agents,
  clientOf,
  fixedDevice,
  homeOf,
  households,
  ipAt,
  mobileDevice,
  person,
  poolDevice,
  sitting,
  sittings,
  steady,
  type Device,
  type Person,
} from './people.ts';
import type { Random } from './random.ts';
import type { Client } from './request.ts';
import { mixes, operations, request, routes, words, type Operation } from './site.ts';
import type { Label, Span, Stage } from './stage.ts';

/** Every harmless oddity that the catalogue says must not alert. Those that happen to everybody are in `Stage`. */
export function addBenign(stage: Stage): void {
  spikes(stage);
  logins(stage);
  travels(stage);
  sharing(stage);
  objects(stage);
  parameters(stage);
}

const flat = (country: string) => profileOf(countryOf(country).zone, 1, 12, 1);

function spikes(stage: Stage): void {
  const whole: Span = [stage.startMs, stage.endMs];
  const german = countryOf('DE').zone;
  const benign = (letter: string, title: string): Label =>
    stage.benign(`request-spike:not-${letter}`, 'request-spike', title);

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

  const arrives = stage.day(0.4) + 9 * hourMs;
  const fresh = benign('d', 'new consumer');
  const newcomer = person(stage, 'newcomer', { devices: households.servers('DE'), from: arrives });
  sittings(stage, newcomer, 1_500, [arrives, stage.endMs], { perMinute: 25, label: fresh });

  const moves = stage.day(0.5) + 8 * hourMs;
  const migration = benign('d', 'migration of a large customer: a step that stays');
  migration.tolerates = { types: ['request-spike'], most: 1 };
  steady(stage, 'migrating', 3, { label: migration, factor: (at) => (at < moves ? 1 : 5), mostFactor: 5 });

  const tiny = benign('g', 'tiny consumers, nothing and then five requests');
  for (let number = 0; number < 10; number++) {
    const who = person(stage, `tiny-${number}`, { devices: households.phone('FR'), mix: mixes.app });
    stage.poisson(who.random, whole, 0.8 / 1_440, null, (atMs) => {
      for (let call = 0; call < 5; call++)
        stage.send(act(stage, who, who.devices[0]!, who.devices[0]!.ip(), atMs + call * 900), tiny);
    });
  }

  const even = benign('h', 'flat machine traffic, one more or less');
  const machine = person(stage, 'meter', { mix: [[operations.getOrder, 1]] });
  stage.every(machine.random, whole, 30 * secondMs, 0.3, (atMs) => {
    stage.send(act(stage, machine, machine.devices[0]!, machine.devices[0]!.ip(), atMs), even);
    if (machine.random.chance(0.01))
      stage.send(act(stage, machine, machine.devices[0]!, machine.devices[0]!.ip(), atMs + 500), even);
  });

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

  const bursty = benign('l', 'heavy-tailed bursts');
  // Variance over mean per minute is about the rate within a burst.
  for (const [number, perMinute] of [20, 60, 150, 400].entries()) {
    const who = person(stage, `bursty-${number}`, { profile: flat('DE') });
    sittings(stage, who, 500 + 5 * perMinute, whole, { perMinute, meanMs: minuteMs, label: bursty });
  }
}

function logins(stage: Stage): void {
  const users = new Users(stage);
  const whole: Span = [stage.startMs, stage.endMs];
  const benign = (letter: string, title: string, tolerates: Label['tolerates'] = null): Label =>
    stage.benign(`credential-stuffing:not-${letter}`, 'credential-stuffing', title, tolerates);
  const random = stage.random('benign logins');

  const mistyped = benign('a', 'mistypes the password 3 to 8 times');
  stage.poisson(random, whole, Math.max(6, stage.crowd / 100) / 1_440, null, (atMs) => {
    const index = random.int(users.count);
    const { ip, client } = users.home(index);
    const tries = 3 + random.int(6);
    for (let one = 0; one <= tries; one++)
      stage.send(users.login(index, ip, client, atMs + one * 7 * secondMs, one === tries, random), mistyped);
  });

  const stale = benign('b', 'expired password in a device, every 30 s for a day', {
    types: ['stale-credential'],
    most: 1,
  });
  const staleFrom = stage.day(0.7) + 6 * hourMs;
  const staleClient = clientOf(null, 'SmartMeter/2.1', random);
  const staleIp = ipAt(random, 'residential', 'NL');
  stage.every(random, [staleFrom, staleFrom + dayMs], 30 * secondMs, 0.02, (atMs) => {
    const one = users.login(7, staleIp, staleClient, atMs, false, random);
    one.login!.password = 'last-years';
    one.requestBytes = 311;
    stage.send(one, stale);
  });

  const school = benign('c', 'school behind one address, 500 users, 10 % failures');
  const schoolIp = ipAt(random, 'business', 'GB', 'London');
  const clients = Array.from({ length: 40 }, () => clientOf(null, random.pick(agents.browser), random));
  const schoolDay = profileOf(countryOf('GB').zone, 20, 10, 0.05, 4);
  stage.poisson(
    random,
    whole,
    0.8,
    (at) => shareAt(schoolDay, at),
    (atMs) => {
      // Accounts of its own: nobody is at school in London and at home on another continent.
      const index = users.count + random.int(500);
      stage.send(
        users.login(index, schoolIp, random.pick(clients), atMs, !random.chance(0.1), random),
        school,
      );
    },
  );

  // Reported once a week.
  const probe = benign('f', 'monitoring probe with a wrong key every minute', {
    types: ['stale-credential'],
    most: 5,
  });
  const probeClient = clientOf(null, 'UptimeProbe/1.0', random);
  const probeIp = ipAt(random, 'hosting', 'US', 'Chicago');
  stage.every(random, whole, minuteMs * 2, 0.05, (atMs) => {
    const one = request(probeClient, probeIp, atMs, routes.orders, 'GET', '/orders', null, random, 350, 2);
    const refused = { status: 401, byKong: true, wrongKey: 'probe-key-that-is-wrong', requestBytes: 287 };
    stage.send(Object.assign(one, refused), probe);
  });

  const expiry = benign('g', 'tokens expire: one 401, then a fresh one');
  const apps = Array.from({ length: 60 }, (_, index) => index);
  stage.every(random, whole, 6 * hourMs, 0.2, (atMs) => {
    for (const index of apps) {
      const { ip, client } = users.home(index);
      const at = atMs + random.next() * 10 * minuteMs;
      const one = request(client, ip, at, routes.accounts, 'GET', '/accounts/me', null, random, 300);
      stage.send(Object.assign(one, { status: 401, bearer: `old-${index}-${Math.floor(atMs)}` }), expiry);
      stage.send(users.login(index, ip, client, at + 800, true, random), expiry);
    }
  });

  const script = benign('i', 'legitimate host with a broken script: 157 failures, 47 logins a day');
  const scriptClient = clientOf(null, 'python-requests/2.32.3', random);
  const scriptIp = ipAt(random, 'business', 'DE', 'Hamburg');
  stage.every(random, whole, dayMs / 204, 0.5, (atMs) => {
    const right = random.chance(47 / 204);
    stage.send(
      users.login(right ? 20 + random.int(3) : 23, scriptIp, scriptClient, atMs, right, random),
      script,
    );
  });

  const negative = benign('j', 'QA tenant runs negative tests');
  const qa = person(stage, 'qa-tenant', { tags: ['qa'] });
  stage.daily(qa.random, countryOf('DE').zone, 10, 2 * hourMs, (atMs) => {
    for (let call = 0; call < 60; call++) {
      const device = qa.devices[0]!;
      const one = act(stage, qa, device, device.ip(), atMs + call * 2 * secondMs, operations.user);
      one.status = qa.random.pick([401, 403, 403, 404, 422, 200]);
      stage.send(one, negative);
    }
  });
}

function travels(stage: Stage): void {
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

  human('phone-on-carrier', 'FR', 60, benign('a', 'exit city of a carrier hops'), (client, random) => [
    mobileDevice(client(agents.phone[0]), networksOf('mobile', 'FR')[0]!, random),
    mobileDevice(client(agents.phone[0]), networksOf('mobile', 'ES')[0]!, random),
  ]);
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
  const vpnPlaces = (random: Random, network: number, name: string): string => {
    const vpn = networksOf('vpn')[network]!;
    return address(vpn, placeIndex(vpn, name), 200, random.int(254));
  };
  human('corporate-vpn', 'DE', 60, benign('c', 'corporate VPN on and off'), (client, random) => {
    const mine = client(agents.browser[0]);
    return [
      fixedDevice(mine, ipAt(random, 'residential', 'DE', 'Munich')),
      fixedDevice(mine, vpnPlaces(random, 1, 'New York')),
    ];
  });
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
  human('moved-block', 'DE', 80, benign('e', 'the database moves the block of an address'), (client) => [
    fixedDevice(
      client(agents.browser[2]),
      address(movedBlock.network, movedBlock.place, movedBlock.block, 9),
    ),
  ]);
  human('centroid-only', 'IN', 60, benign('f', 'country-centroid coordinates, no city'), (client, random) => {
    const mine = client(agents.browser[0]);
    // Blocks below 128 of which the database knows the country only come by themselves; many make it likely.
    return Array.from({ length: 12 }, () =>
      fixedDevice(mine, address(networksOf('residential', 'IN')[0]!, random.int(4), random.int(128), 7)),
    );
  });
  human('cloud-fleet', 'US', 300, benign('g', 'servers in many regions of a cloud'), (client, random) => {
    const [cloud] = networksOf('hosting');
    const ips = ['New York', 'London', 'Singapore', 'Tokyo', 'Sydney', 'Sao Paulo'].map((name) =>
      address(cloud!, placeIndex(cloud!, name), 140, random.int(254)),
    );
    return [poolDevice(client(agents.server[0]), ips, random)];
  });
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
  const two = benign('m', 'shared key with two habitual sites');
  two.tolerates = { types: ['credential-sharing'], most: 1 };
  human('two-sites', 'GB', 120, two, (client, random) => [
    fixedDevice(client(agents.server[1]), ipAt(random, 'business', 'GB', 'London')),
    fixedDevice(client(agents.server[1]), ipAt(random, 'business', 'JP', 'Tokyo')),
  ]);
}

function sharing(stage: Stage): void {
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

function objects(stage: Stage): void {
  const whole: Span = [stage.startMs, stage.endMs];
  const berlin = countryOf('DE').zone;
  const benign = (letter: string, title: string): Label =>
    stage.benign(`scraping:not-${letter}`, 'object-enumeration', title);
  const nightly = (
    name: string,
    label: Label,
    calls: number,
    gapMs: number,
    of: (who: Person, call: number) => Operation,
  ): void => {
    const who = person(stage, name, {});
    const device = who.devices[0]!;
    stage.daily(who.random, berlin, 1, 3 * minuteMs, (atMs) => {
      for (let call = 0; call < calls; call++)
        stage.send(act(stage, who, device, device.ip(), atMs + call * gapMs, of(who, call)), label);
    });
  };
  const random = stage.random('benign objects');

  const crawler = benign('a', 'search engine');
  const bot = clientOf(
    null,
    'Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)',
    random,
  );
  bot.cookie = null;
  const botIp = ipAt(random, 'hosting', 'US', 'Seattle');
  stage.every(random, whole, 45 * secondMs, 0.8, (atMs) => {
    const path = `/catalog/products/${random.pick(words)}-${random.pick(words)}-${random.pick(words)}`;
    stage.send(request(bot, botIp, atMs, routes.products, 'GET', path, null, random, 1_500), crawler);
  });

  nightly(
    'catalogue-sync',
    benign('b', 'nightly sync of a partner, the same ids each day'),
    400,
    500,
    (_, call) => (a) =>
      request(
        a.client,
        a.ip,
        a.atMs,
        routes.products,
        'GET',
        `/catalog/products/${5_000 + call}`,
        null,
        a.random,
        1_500,
      ),
  );
  nightly(
    'list-walker',
    benign('c', 'walks the pages of its own list'),
    60,
    1_500,
    (_, call) => (a) =>
      request(
        a.client,
        a.ip,
        a.atMs,
        routes.orders,
        'GET',
        '/orders',
        { page: String(call + 1), limit: '50' },
        a.random,
        4_000,
      ),
  );

  const prefetch = benign('d', 'app prefetches 50 items');
  const app = person(stage, 'prefetching', {
    country: 'SG',
    devices: households.phone('SG'),
    mix: mixes.app,
  });
  stage.poisson(app.random, whole, 6 / 1_440, null, (atMs) => {
    const device = app.devices[0]!;
    const ip = device.ip();
    for (let call = 0; call < 50; call++)
      stage.send(act(stage, app, device, ip, atMs + call * 60, operations.product), prefetch);
  });

  const support = benign('e', 'support opens 300 tickets a day');
  const agent = steady(stage, 'support-desk', 0.6, {
    mix: [
      [operations.ticket, 4],
      [operations.search, 1],
    ],
    label: support,
  });
  agent.has.account = 7;

  nightly(
    'cache-warmer',
    benign('f', 'warms the cache'),
    150,
    200,
    (_, call) => (a) =>
      request(
        a.client,
        a.ip,
        a.atMs,
        routes.products,
        'GET',
        '/catalog/products',
        { category: 'shoes', page: String(call + 1) },
        a.random,
        6_000,
      ),
  );

  const uuids = benign('g', 'ids that are new by nature: POST, then GET');
  const payer = person(stage, 'payer', {});
  stage.poisson(payer.random, whole, 0.3, null, (atMs) => {
    const device = payer.devices[0]!;
    stage.send(act(stage, payer, device, device.ip(), atMs, operations.transfer), uuids);
    stage.send(act(stage, payer, device, device.ip(), atMs + 700, operations.payment), uuids);
  });

  const migration = benign('h', 'announced migration of data');
  const mover = person(stage, 'data-migration', { tags: ['migration'] });
  const movesAt = stage.day(0.7) + 20 * hourMs;
  stage.exceptions.push({
    consumers: ['data-migration'],
    from: new Date(movesAt).toISOString(),
    until: new Date(movesAt + 2 * hourMs).toISOString(),
    owner: 'data team',
    comment: 'announced migration',
  });
  sittings(stage, mover, 30, whole, { label: migration });
  stage.every(mover.random, [movesAt, movesAt + hourMs], secondMs, 0.1, (atMs) => {
    const device = mover.devices[0]!;
    const path = `/orders/${500_000 + Math.floor((atMs - movesAt) / secondMs)}`;
    stage.send(
      request(device.client, device.ip(), atMs, routes.orders, 'GET', path, null, mover.random),
      migration,
    );
  });
}

function parameters(stage: Stage): void {
  const whole: Span = [stage.startMs, stage.endMs];
  const benign = (letter: string, title: string): Label =>
    stage.benign(`abnormal-parameter:not-${letter}`, 'abnormal-parameter', title);
  const random = stage.random('benign parameters');
  const who = person(stage, 'many-forms', {
    country: 'NL',
    profile: drawProfile(countryOf('NL').zone, random),
  });
  const device = who.devices[0]!;
  const get = (
    label: Label,
    at: keyof typeof routes,
    path: string,
    query: () => Record<string, string | true | string[]>,
    perDay = 12,
  ): void =>
    stage.poisson(random, whole, perDay / 1_440, null, (atMs) =>
      stage.send(request(device.client, device.ip(), atMs, routes[at], 'GET', path, query(), random), label),
    );

  get(benign('a', 'free text: names, sentences, other scripts'), 'search', '/catalog/search', () => ({
    q: random.pick([
      "O'Brien",
      'select all that apply',
      '你好 世界',
      'كتاب',
      'Łódź 🧥',
      'rock & roll; drop in',
      "it's <3",
      'C++ / C#',
      '1=1 puzzle',
    ]),
  }));
  get(benign('d', 'long opaque cursors'), 'files', '/files', () => ({
    path: 'public/list',
    cursor: Buffer.from(`offset:${random.int(9_999)}:${random.hex(40)}`).toString('base64'),
  }));
  get(benign('e', 'locale decimals'), 'products', '/catalog/products', () => ({
    category: 'lamps',
    price: random.pick(['12,50', '1.299,00', '9.99']),
  }));
  get(benign('f', 'numbers grow with time'), 'orders', '/orders', () => ({
    after: String(1_000_000 + random.int(100_000)),
  }));
  get(benign('g', 'JSON in a parameter'), 'products', '/catalog/products', () => ({
    filter: JSON.stringify({ size: [random.int(50)], color: random.pick(words) }),
  }));
  get(benign('h', 'empty value'), 'products', '/catalog/products', () => ({ category: '', page: '1' }));
  get(benign('i', 'repeated parameters, in any order'), 'products', '/catalog/products', () =>
    random.chance(0.5) ? { 'a[]': ['1', '2'], category: 'shoes' } : { category: 'shoes', 'a[]': ['2', '1'] },
  );
  get(benign('j', 'campaign parameters'), 'products', '/catalog/products', () => ({
    category: 'shoes',
    utm_source: 'newsletter',
    utm_campaign: `spring-${random.int(9)}`,
  }));
  get(benign('k', 'case changes'), 'products', '/catalog/products', () => ({
    category: random.pick(['Shoes', 'SHOES', 'shoes']),
  }));
}
