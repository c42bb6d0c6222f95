import { dayMs, hourMs, minuteMs, secondMs } from '../calendar.ts';
import { countries, drawAddress, networksOf } from '../geo.ts';
import { agents, clientOf, households, ipAt, person, type Person, sittings } from '../people.ts';
import type { Random } from '../random.ts';
import type { Query, Request, Route } from '../request.ts';
import { mixes, request, routes } from '../site.ts';
import type { Label, Stage } from '../stage.ts';
import { atMost } from './common.ts';

/** Objects of others are read one after the other. */
export function addScraping(stage: Stage): void {
  const tools = toolsOf(stage);
  for (const add of [
    sequential,
    inRandomOrder,
    stridedOrInterleaved,
    lowAndSlow,
    guessing,
    splitOverKeys,
    deepPagination,
    manyIdsPerRequest,
    inPathQueryAndHeader,
    nested,
    unknownPaths,
    userNames,
  ])
    add(stage, tools);
}

type Tools = ReturnType<typeof toolsOf>;

function toolsOf(stage: Stage) {
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
  return { attack, insider, when, get, walk, shuffled };
}

function sequential(_stage: Stage, { attack, insider, get, walk }: Tools): void {
  const one = insider(1);
  walk(one, attack(1, 'sequential ids at 1/s, all 200', { ids: 2_000 }), 2_000, secondMs, (index, at) =>
    get(one, at, routes.users, `/accounts/users/${1_001 + index}`),
  );
}

function inRandomOrder(_stage: Stage, { attack, insider, get, walk, shuffled }: Tools): void {
  const two = insider(2);
  const order = shuffled(two.random, 2_000);
  walk(two, attack(2, 'the same in random order', { ids: 2_000 }), 2_000, secondMs, (index, at) =>
    get(two, at, routes.users, `/accounts/users/${1_001 + order[index]!}`),
  );
}

function stridedOrInterleaved(_stage: Stage, { attack, insider, get, walk }: Tools): void {
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
}

function lowAndSlow(stage: Stage, { attack, insider, get }: Tools): void {
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
}

function guessing(_stage: Stage, { attack, insider, get, walk }: Tools): void {
  const five = insider(5);
  walk(five, attack(5, 'guessing: 70 % are 403 or 404', { ids: 1_000 }), 1_000, 2 * secondMs, (_, at) => {
    const guess = get(five, at, routes.orders, `/orders/${five.random.int(2_000_000)}`);
    if (five.random.chance(0.7)) guess.status = five.random.pick([403, 404]);
    return guess;
  });
}

function splitOverKeys(stage: Stage, { attack, insider, when, get }: Tools): void {
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

function deepPagination(_stage: Stage, { attack, insider, get, walk }: Tools): void {
  const seven = insider(7);
  walk(seven, attack(7, 'deep pagination, bytes ×20', { pages: 200 }), 200, 10 * secondMs, (index, at) =>
    get(seven, at, routes.orders, '/orders', { page: String(index + 1), limit: '10000' }, 80_000),
  );
}

function manyIdsPerRequest(_stage: Stage, { attack, insider, get, walk }: Tools): void {
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
}

function inPathQueryAndHeader(_stage: Stage, { attack, insider, get, walk }: Tools): void {
  const nine = insider(9);
  walk(nine, attack(9, 'ids in path, query and header', { ids: 900 }), 900, 2 * secondMs, (index, at) => {
    const id = String(40_000 + index);
    if (index % 3 === 0) return get(nine, at, routes.users, `/accounts/users/${id}`);
    if (index % 3 === 1) return get(nine, at, routes.accounts, '/accounts/summary', { account: id });
    return Object.assign(get(nine, at, routes.accounts, '/accounts/me'), { accountHeader: id });
  });
}

function nested(_stage: Stage, { attack, insider, get, walk }: Tools): void {
  const ten = insider(10);
  walk(ten, attack(10, 'nested, with foreign accounts', { accounts: 600 }), 1_200, 1_500, (index, at) =>
    get(ten, at, routes.accounts, `/accounts/${50_000 + (index >> 1)}/tx/${1 + (index & 1)}`),
  );
}

function unknownPaths(stage: Stage, { attack, when }: Tools): void {
  const random = stage.random('scraping 11');
  const label = attack(11, 'vulnerability scanner over unknown paths', { paths: 400 });
  const client = clientOf(null, random.pick(['Mozilla/5.0 zgrab/0.x', 'sqlmap/1.8', agents.tool[0]]), random);
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

function userNames(stage: Stage, { attack, when }: Tools): void {
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
