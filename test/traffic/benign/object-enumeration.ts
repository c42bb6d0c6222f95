import { hourMs, minuteMs, secondMs } from '../calendar.ts';
import { countryOf } from '../geo.ts';
import { act, clientOf, households, ipAt, person, type Person, sittings, steady } from '../people.ts';
import { mixes, type Operation, operations, request, routes, words } from '../site.ts';
import type { Label, Span, Stage } from '../stage.ts';

/** Many objects that are read for a harmless reason. */
export function addReaders(stage: Stage): void {
  const tools = toolsOf(stage);
  for (const add of [
    searchEngine,
    partnerSync,
    pagesOfOwnList,
    prefetching,
    supportDesk,
    cacheWarmer,
    newIds,
    announcedMigration,
  ])
    add(stage, tools);
}

type Tools = ReturnType<typeof toolsOf>;

function toolsOf(stage: Stage) {
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
  return { whole, berlin, benign, nightly };
}

function searchEngine(stage: Stage, { whole, benign }: Tools): void {
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
}

function partnerSync(_stage: Stage, { benign, nightly }: Tools): void {
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
}

function pagesOfOwnList(_stage: Stage, { benign, nightly }: Tools): void {
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
}

function prefetching(stage: Stage, { whole, benign }: Tools): void {
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
}

function supportDesk(stage: Stage, { benign }: Tools): void {
  const support = benign('e', 'support opens 300 tickets a day');
  const agent = steady(stage, 'support-desk', 0.6, {
    mix: [
      [operations.ticket, 4],
      [operations.search, 1],
    ],
    label: support,
  });
  agent.has.account = 7;
}

function cacheWarmer(_stage: Stage, { benign, nightly }: Tools): void {
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
}

function newIds(stage: Stage, { whole, benign }: Tools): void {
  const uuids = benign('g', 'ids that are new by nature: POST, then GET');
  const payer = person(stage, 'payer', {});
  stage.poisson(payer.random, whole, 0.3, null, (atMs) => {
    const device = payer.devices[0]!;
    stage.send(act(stage, payer, device, device.ip(), atMs, operations.transfer), uuids);
    stage.send(act(stage, payer, device, device.ip(), atMs + 700, operations.payment), uuids);
  });
}

function announcedMigration(stage: Stage, { whole, benign }: Tools): void {
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
