import type { Seed } from './store.ts';

const uuid = (kind: number, index: number): string =>
  `${kind.toString(16).padStart(8, '0')}-0000-4000-8000-${(index + 1).toString(16).padStart(12, '0')}`;

interface SeedRoute {
  name: string;
  paths: string[];
  methods?: string[];
  strip_path?: boolean;
  tags?: string[];
  regex_priority?: number;
  headers?: Record<string, string[]>;
}

const services = [
  { name: 'accounts', port: 9100, tags: ['core', 'pii'] },
  { name: 'orders', port: 9101, tags: ['core', 'payments'], retries: 3 },
  { name: 'catalog', port: 9102, tags: ['public'], read_timeout: 5000 },
];

const routes: Record<string, SeedRoute[]> = {
  accounts: [
    { name: 'accounts-login', paths: ['/accounts/login'], methods: ['POST', 'OPTIONS'], tags: ['auth'] },
    { name: 'accounts-register', paths: ['/accounts/register'], methods: ['POST'], tags: ['auth'] },
    {
      name: 'accounts-recovery',
      paths: ['/accounts/password-reset', '/accounts/verify-code'],
      tags: ['auth'],
    },
    { name: 'accounts-users', paths: ['/accounts/users'] },
    { name: 'accounts-admin', paths: ['/accounts/admin'], tags: ['sensitive'] },
  ],
  orders: [
    { name: 'orders-list', paths: ['/orders'] },
    { name: 'orders-item', paths: ['~/orders/(?<order_id>[0-9a-f-]{36})$'], regex_priority: 10 },
    { name: 'orders-export', paths: ['/export'], methods: ['GET'], tags: ['bulk'] },
  ],
  catalog: [
    { name: 'catalog-public', paths: ['/catalog'], strip_path: true, tags: ['public'] },
    { name: 'catalog-search', paths: ['/catalog/search'], tags: ['public'] },
    { name: 'catalog-v2-header', paths: ['/products'], headers: { 'x-api-version': ['2'] } },
  ],
};

const consumers: { username?: string; custom_id?: string; tags?: string[] }[] = [
  { username: 'alice', custom_id: 'cust-1001', tags: ['tier-gold', 'eu'] },
  { username: 'bob@example.org', custom_id: 'cust-1002', tags: ['tier-silver', 'us'] },
  { username: 'dana', custom_id: 'cust-1003', tags: ['staff'] },
  { username: 'victor', custom_id: 'cust-1004', tags: ['staff'] },
  { username: 'Søren Ødegård', custom_id: 'cust-2001', tags: ['tier-silver', 'eu'] },
  { username: 'mallory', custom_id: 'cust-6666', tags: ['watch'] },
  { username: 'partner-acme', custom_id: 'ACME/EU 7', tags: ['partner', 'tier-gold'] },
  { username: 'partner-globex', tags: ['partner'] },
  { username: 'mobile-app-ios', custom_id: 'app-ios-7', tags: ['app'] },
  { username: 'mobile-app-android', custom_id: 'app-and-7', tags: ['app'] },
  { username: 'web-frontend', custom_id: 'app-web-1', tags: ['app', 'first-party'] },
  { username: 'batch-etl', custom_id: 'svc-etl', tags: ['internal'] },
  { username: 'qa-bot', custom_id: 'svc-qa' },
  { custom_id: 'legacy-77', tags: ['legacy'] },
  { username: 'anonymous', tags: ['anonymous'] },
];

/** Key of a consumer of the default seed: `demo-key-` and its username, else its custom id. */
export const demoKey = (consumer: { username?: string; custom_id?: string }): string =>
  `demo-key-${consumer.username ?? consumer.custom_id ?? ''}`;

/**
 * The shop of the recordings: services `accounts`, `orders` and `catalog`, 15
 * consumers (each but `anonymous` with a key, see `demoKey`; alice, dana and victor with basic-auth `{name}-password`),
 * key-auth on `orders` and `accounts-users`, basic-auth on `accounts-admin`, none on login, register and catalog, and
 * `anonymous` as the fallback on `catalog-search`. Ids are the same each time. No tcp-log plugin.
 */
export function defaultSeed(): Seed {
  const serviceId = (name: string): string =>
    uuid(
      1,
      services.findIndex((service) => service.name === name),
    );
  const allRoutes = Object.entries(routes).flatMap(([service, list]) =>
    list.map((route) => ({ strip_path: false, ...route, service: { id: serviceId(service) } })),
  );
  const routeId = (name: string): string =>
    uuid(
      2,
      allRoutes.findIndex((route) => route.name === name),
    );
  const consumerId = (name: string): string =>
    uuid(
      3,
      consumers.findIndex((consumer) => consumer.username === name),
    );
  const keyAuth = { name: 'key-auth', config: { key_names: ['apikey', 'x-api-key'] } };
  return {
    services: services.map((service, index) => ({ id: uuid(1, index), host: '127.0.0.1', ...service })),
    routes: allRoutes.map((route, index) => ({ id: uuid(2, index), ...route })),
    consumers: consumers.map((consumer, index) => ({ id: uuid(3, index), ...consumer })),
    keyauth_credentials: consumers
      .map((consumer, index) => ({
        id: uuid(4, index),
        key: demoKey(consumer),
        consumer: { id: uuid(3, index) },
      }))
      .filter((credential) => credential.consumer.id !== consumerId('anonymous')),
    basicauth_credentials: ['alice', 'dana', 'victor'].map((username, index) => ({
      id: uuid(5, index),
      username,
      password: `${username}-password`,
      consumer: { id: consumerId(username) },
    })),
    plugins: [
      { id: uuid(6, 0), ...keyAuth, service: { id: serviceId('orders') } },
      { id: uuid(6, 1), ...keyAuth, route: { id: routeId('accounts-users') } },
      { id: uuid(6, 2), name: 'basic-auth', route: { id: routeId('accounts-admin') }, config: {} },
      {
        id: uuid(6, 3),
        name: 'key-auth',
        route: { id: routeId('catalog-search') },
        config: { ...keyAuth.config, anonymous: consumerId('anonymous') },
      },
      {
        id: uuid(6, 4),
        name: 'correlation-id',
        service: { id: serviceId('orders') },
        config: { header_name: 'X-Correlation-ID', generator: 'uuid', echo_downstream: true },
      },
    ],
  };
}
