import type { Random } from './random.ts';
import type { Client, Query, Request, Route, Service } from './request.ts';

const uuidOf = (number: number): string =>
  `f84d2cc2-b6cd-4c61-b0db-${(0xf859_9b00_0000 + number * 7_919).toString(16).padStart(12, '0')}`;

const service = (name: string, number: number): Service => ({ name, id: uuidOf(number) });
const orders = service('orders', 1);
const catalog = service('catalog', 2);
const accounts = service('accounts', 3);
const payments = service('payments', 4);
const reports = service('reports', 5);
const support = service('support', 6);
const hooks = service('hooks', 7);
const files = service('files', 8);

const route = (of: Service, name: string, number: number, ...paths: string[]): Route => ({
  name,
  id: uuidOf(100 + number),
  service: of,
  paths,
});

/** The routes of the API that the traffic is for. */
export const routes = {
  orders: route(orders, 'orders-list', 1, '/orders'),
  export: route(orders, 'orders-export', 2, '/export'),
  products: route(catalog, 'catalog-public', 3, '/catalog'),
  search: route(catalog, 'catalog-search', 4, '/catalog/search'),
  login: route(accounts, 'accounts-login', 5, '/accounts/login'),
  brandLogin: route(accounts, 'brands-login', 13, '/brands'),
  accounts: route(accounts, 'accounts', 6, '/accounts'),
  users: route(accounts, 'accounts-users', 7, '/accounts/users'),
  payments: route(payments, 'payments', 8, '/payments'),
  reports: route(reports, 'reports', 9, '/reports'),
  support: route(support, 'support-tickets', 10, '/tickets'),
  hooks: route(hooks, 'hooks', 11, '/hooks'),
  files: route(files, 'files', 12, '/files'),
};

/** Smaller shops on the same platform, each with users and a login of its own. */
export const brands = ['acme', 'borealis', 'corvus', 'delta', 'eos', 'fjord', 'gaia'] as const;
export type Brand = (typeof brands)[number];

/** A successful request without parameters; what is special about one is set on it afterwards. */
export function request(
  client: Client,
  ip: string,
  atMs: number,
  at: Route | null,
  method: string,
  path: string,
  query: Query | null,
  random: Random,
  responseBytes = 900,
  latencyMs = 20,
): Request {
  return {
    id: '',
    startedAt: Math.floor(atMs),
    arrivesAt: 0,
    client,
    ip,
    route: at,
    method,
    path,
    query,
    status: method === 'POST' ? 201 : 200,
    byKong: false,
    requestBytes: 250 + random.int(120),
    responseBytes: Math.round(responseBytes * (0.6 + random.next())),
    latencyMs: Math.max(1, Math.round(random.around(latencyMs, 0.4))),
    contentType: method === 'POST' ? 'application/json' : null,
    wrongKey: null,
    login: null,
    bearer: null,
    accountHeader: null,
  };
}

/** What somebody has on the site, and so asks for. */
export interface Belongings {
  /** Of its account; foreign ones are other numbers. */
  account: number;
  /** Ids of its newest orders, the latest last; at most 40. */
  orders: number[];
  /** Orders get numbers one after another, over the whole site. */
  nextOrder: (atMs: number) => number;
}

export interface Site {
  /** From here on a release brings an optional parameter and a new value of an old one. */
  releasedAtMs: number;
  startMs: number;
}

export const words =
  'red blue running winter summer light heavy wool cotton leather classic travel garden kitchen desk lamp shoe coat chair phone case cable bottle'.split(
    ' ',
  );
const sentences = [
  "O'Brien & Sons",
  'select all that apply',
  'laptop 15"',
  '手机 保护壳',
  'حقيبة جلد',
  'shoes 👟 size 42',
  'drop shipping table lamp',
  '50% off -- today only',
  'Müller, Straße',
  'price < 20 and new',
];
const states = ['open', 'paid', 'shipped', 'cancelled'];
const sorts = ['date', '-date', 'total'];
const currencies = ['EUR', 'USD', 'GBP', 'NOK'];
export const categories = ['shoes', 'coats', 'lamps', 'garden', 'kitchen', 'phones'];

export function slug(random: Random): string {
  return `${random.pick(words)}-${random.pick(words)}-${random.pick(words)}`;
}

export interface Act {
  site: Site;
  client: Client;
  ip: string;
  atMs: number;
  random: Random;
  has: Belongings;
}

export type Operation = (act: Act) => Request;

/** The ordinary uses of the site. */
export const operations = {
  listOrders: ({ client, ip, atMs, random, site }) => {
    const query: Query = {
      page: String(1 + Math.floor(random.exponential(1))),
      limit: random.pick(['20', '50']),
    };
    if (random.chance(0.4)) {
      // The release also brings a new state of orders.
      const released = atMs >= site.releasedAtMs && random.chance(0.2);
      query['status'] = released ? 'refunded' : random.pick(states);
    }
    if (random.chance(0.2)) query['sort'] = random.pick(sorts);
    if (random.chance(0.05))
      query['since'] = new Date(atMs - random.int(20) * 86_400_000).toISOString().slice(0, 10);
    if (atMs >= site.releasedAtMs && random.chance(0.3)) query['expand'] = 'items';
    return request(client, ip, atMs, routes.orders, 'GET', '/orders', query, random, 4_000);
  },
  getOrder: ({ client, ip, atMs, random, has }) => {
    const id = random.pick(has.orders);
    return request(client, ip, atMs, routes.orders, 'GET', `/orders/${id}`, null, random);
  },
  orderItem: ({ client, ip, atMs, random, has }) => {
    const path = `/orders/${random.pick(has.orders)}/items/${1 + random.int(5)}`;
    return request(client, ip, atMs, routes.orders, 'GET', path, null, random, 500);
  },
  newOrder: ({ client, ip, atMs, random, has }) => {
    has.orders.push(has.nextOrder(atMs));
    if (has.orders.length > 40) has.orders.shift();
    return request(client, ip, atMs, routes.orders, 'POST', '/orders', null, random, 300, 60);
  },
  products: ({ client, ip, atMs, random }) => {
    const query: Query = {
      category: random.pick(categories),
      page: String(1 + Math.floor(random.exponential(1.5))),
    };
    if (random.chance(0.05)) query['utm_source'] = random.pick(['newsletter', 'ad']);
    if (random.chance(0.03)) query['filter'] = JSON.stringify({ price: { below: 10 * (1 + random.int(9)) } });
    if (random.chance(0.02)) query['color[]'] = ['red', 'blue'];
    return request(client, ip, atMs, routes.products, 'GET', '/catalog/products', query, random, 6_000);
  },
  product: ({ client, ip, atMs, random }) => {
    return request(
      client,
      ip,
      atMs,
      routes.products,
      'GET',
      `/catalog/products/${slug(random)}`,
      null,
      random,
      1_500,
    );
  },
  search: ({ client, ip, atMs, random }) => {
    const q = random.chance(0.1) ? random.pick(sentences) : `${random.pick(words)} ${random.pick(words)}`;
    const query: Query = { q };
    if (random.chance(0.3)) query['lang'] = random.pick(['en', 'de', 'EN', 'fr']);
    return request(client, ip, atMs, routes.search, 'GET', '/catalog/search', query, random, 5_000, 50);
  },
  me: ({ client, ip, atMs, random }) => {
    return request(client, ip, atMs, routes.accounts, 'GET', '/accounts/me', null, random, 400);
  },
  user: ({ client, ip, atMs, random, has }) => {
    return request(
      client,
      ip,
      atMs,
      routes.users,
      'GET',
      `/accounts/users/${has.account}`,
      null,
      random,
      600,
    );
  },
  transaction: ({ client, ip, atMs, random, has }) => {
    const path = `/accounts/${has.account}/tx/${1 + random.int(300)}`;
    return request(client, ip, atMs, routes.accounts, 'GET', path, null, random, 500);
  },
  payment: ({ client, ip, atMs, random }) => {
    return request(client, ip, atMs, routes.payments, 'GET', `/payments/${random.uuid()}`, null, random, 700);
  },
  transfer: ({ client, ip, atMs, random }) => {
    const query: Query = {
      amount: random.around(80, 0.6).toFixed(2),
      currency: random.pick(currencies),
    };
    return request(client, ip, atMs, routes.payments, 'POST', '/payments/transfers', query, random, 300, 90);
  },
  render: ({ client, ip, atMs, random }) => {
    const path = `/reports/${1_000 + random.int(400)}/render`;
    return request(
      client,
      ip,
      atMs,
      routes.reports,
      'GET',
      path,
      { format: random.pick(['pdf', 'html']) },
      random,
      90_000,
      1_500,
    );
  },
  ticket: ({ client, ip, atMs, random }) => {
    const path = `/tickets/${20_000 + Math.floor((atMs / 3_600_000) % 5_000) + random.int(30)}`;
    return request(client, ip, atMs, routes.support, 'GET', path, null, random, 1_200);
  },
  export: ({ client, ip, atMs, random }) => {
    const since = new Date(atMs - 86_400_000).toISOString().slice(0, 10);
    return request(
      client,
      ip,
      atMs,
      routes.export,
      'GET',
      '/export',
      { format: 'csv', since, page: String(1 + random.int(40)) },
      random,
      60_000,
      400,
    );
  },
  file: ({ client, ip, atMs, random }) => {
    const query: Query = { path: `public/${random.pick(words)}/${random.pick(words)}.png` };
    if (random.chance(0.2))
      query['cursor'] = Buffer.from(`offset:${random.int(9_999)}:${random.hex(12)}`).toString('base64');
    return request(client, ip, atMs, routes.files, 'GET', '/files', query, random, 30_000);
  },
} satisfies Record<string, Operation>;

/** Operations with their weights. */
export type Mix = readonly (readonly [operation: Operation, weight: number])[];

const o = operations;
/** What different kinds of programs do. */
export const mixes = {
  app: [
    [o.me, 3],
    [o.listOrders, 4],
    [o.getOrder, 5],
    [o.products, 4],
    [o.product, 5],
    [o.search, 3],
    [o.newOrder, 1],
    [o.transfer, 0.5],
    [o.user, 1],
    [o.file, 1],
  ],
  office: [
    [o.listOrders, 6],
    [o.getOrder, 6],
    [o.orderItem, 3],
    [o.ticket, 2],
    [o.search, 2],
    [o.transaction, 2],
    [o.user, 1],
    [o.render, 0.3],
    [o.file, 1],
  ],
  server: [
    [o.getOrder, 8],
    [o.listOrders, 4],
    [o.newOrder, 3],
    [o.payment, 4],
    [o.transfer, 3],
    [o.transaction, 2],
    [o.products, 2],
  ],
  visitor: [
    [o.products, 4],
    [o.product, 5],
    [o.search, 3],
  ],
} satisfies Record<string, Mix>;

export function drawOperation(mix: Mix, random: Random): Operation {
  let dice = random.next() * mix.reduce((sum, [, weight]) => sum + weight, 0);
  for (const [operation, weight] of mix) if ((dice -= weight) < 0) return operation;
  return mix[0]![0];
}

/**
 * Gives an ordinary request its status: of public APIs 91 % are 200, 4.5 % not modified, 2 % moved, 1.6 % not found or
 * wrong, the rest fails.
 */
export function drawStatus(one: Request, random: Random): Request {
  const dice = random.next();
  if (dice < 0.91) return one;
  if (dice < 0.955) {
    if (one.method === 'GET') one.status = 304;
  } else if (dice < 0.975) one.status = one.method === 'GET' ? 302 : one.status;
  else if (dice < 0.991) one.status = random.pick([404, 404, 404, 400]);
  else one.status = random.pick([500, 502, 504, 499, 403, 422]);
  if (one.status !== 200 && one.status < 400) one.responseBytes = 180;
  return one;
}
