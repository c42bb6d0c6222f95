import { expect, test } from 'vitest';
import { createSanitizer } from './index.ts';

// Canaries: made-up secrets of every kind, put in every place and encoding that the sanitiser sees. None may come out, in
// no encoding. What only its name gives away (a plain password) is put in named places only.

/** Mulberry32: the same canaries in every run. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

const next = random(20261121);
const upper = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ';
const lower = upper.toLowerCase();
const digits = '0123456789';
const alphanumeric = upper + lower + digits;

function pick<T>(list: ArrayLike<T>): T {
  return list[Math.floor(next() * list.length)]!;
}
function draw(alphabet: string, length: number): string {
  let drawn = '';
  while (drawn.length < length) drawn += pick(alphabet);
  return drawn;
}
const base64url = (text: string): string => Buffer.from(text).toString('base64url');

function card(): string {
  const [prefix, length] = pick([
    ['4', 16],
    ['51', 16],
    ['2223', 16],
    ['37', 15],
    ['6011', 16],
    ['3530', 16],
    ['62', 16],
  ] as const);
  const body = prefix + draw(digits, length - prefix.length - 1);
  let sum = 0;
  for (const [index, char] of Array.from(body).reverse().entries()) {
    const value = Number(char) * (index % 2 === 0 ? 2 : 1);
    sum += value > 9 ? value - 9 : value;
  }
  const number = body + String((10 - (sum % 10)) % 10);
  const separator = pick(['', '', ' ', '-']);
  return number.length === 16 ? number.replace(/(\d{4})(?=\d)/g, `$1${separator}`) : number;
}

function iban(): string {
  const [country, body] = pick([
    ['DE', draw(digits, 18)],
    ['GB', draw(upper, 4) + draw(digits, 14)],
    ['NL', draw(upper, 4) + draw(digits, 10)],
    ['FR', draw(digits, 23)],
    ['NO', draw(digits, 11)],
  ] as const);
  const numeric = Array.from(`${body}${country}00`, (char) => parseInt(char, 36)).join('');
  const check = String(98n - (BigInt(numeric) % 97n)).padStart(2, '0');
  const plain = country + check + body;
  return pick([plain, plain.toLowerCase(), plain.replace(/(.{4})(?=.)/g, '$1 ')]);
}

const byShape: Record<string, () => string> = {
  jwt: () =>
    `${base64url('{"alg":"HS256","typ":"JWT"}')}.${base64url(`{"sub":"${draw(lower, 8)}"}`)}.${draw(alphanumeric + '-_', 43)}`,
  unsignedJwt: () => `${base64url('{"alg":"none"}')}.${base64url(`{"sub":"${draw(lower, 9)}"}`)}.`,
  hex32: () => draw('0123456789abcdef', 32),
  hex64: () => draw('0123456789abcdef', 64),
  upperHex: () => draw('0123456789ABCDEF', 40),
  base62: () => draw(alphanumeric, 32),
  base64url: () => draw(alphanumeric + '-_', 43),
  base36: () => draw(lower + digits, 40),
  github: () => `ghp_${draw(alphanumeric, 36)}`,
  githubPat: () => `github_pat_${draw(alphanumeric, 22)}_${draw(alphanumeric, 59)}`,
  gitlab: () => `glpat-${draw(alphanumeric + '-_', 20)}`,
  npm: () => `npm_${draw(alphanumeric, 36)}`,
  aws: () => `AKIA${draw(upper + '234567', 16)}`,
  stripe: () => `sk_live_${draw(alphanumeric, 24)}`,
  openai: () => `sk-proj-${draw(alphanumeric, 40)}`,
  slack: () => `xoxb-${draw(digits, 12)}-${draw(alphanumeric, 24)}`,
  google: () => `AIza${draw(alphanumeric + '-_', 35)}`,
  email: () =>
    `${draw(lower, 6)}${pick(['.', '_', '+', ''])}${draw(lower, 4)}@${draw(lower, 7)}.${pick(['com', 'org', 'co.uk'])}`,
  upperEmail: () => `${draw(upper, 8)}@${draw(upper, 5)}.COM`,
  card,
  iban,
  phone: () =>
    `+${pick(['49', '33', '44', '1'])}${pick(['', ' ', '-'])}${pick('123456789')}${draw(digits, 2)}${pick(['', ' '])}${draw(digits, 7)}`,
  americanPhone: () =>
    `(${pick('23456789')}${draw(digits, 2)}) ${pick('23456789')}${draw(digits, 2)}-${draw(digits, 4)}`,
  ssn: () =>
    `${pick('12345678')}${pick('1234579')}${pick('1234579')}-${pick('123456789')}${pick(digits)}-${pick('123456789')}${draw(digits, 3)}`,
  cas: () => `ST-${draw(digits, 6)}-${draw(alphanumeric, 8)}7${draw(alphanumeric, 8)}-cas`,
  telegram: () => `bot${draw(digits, 9)}:AA${draw(alphanumeric + '-_', 33)}`,
  germanPhone: () => `0${pick('123456789')}${draw(digits, 2)} ${draw(digits, 7)}`,
};
/** What the name of a link or of a national id before it gives away, together with its look. */
const byNameAndLook: Record<string, { names: string[]; make: () => string }> = {
  link: {
    names: [
      'reset',
      'verify-email',
      'invite',
      'invitations',
      'magic',
      'confirmation',
      'activate',
      'unsubscribe',
      'share',
    ],
    make: () => `${draw(lower, 2)}${draw(digits, 2)}${draw(alphanumeric, 8)}`,
  },
  shortHex: {
    names: ['password-reset', 'magic-link', 'unlock'],
    make: () => `a1${draw('0123456789abcdef', 16)}`,
  },
  ticket: {
    names: ['ticket', 'webhook', 'hooks', 'appid'],
    make: () => `${draw(lower, 2)}${draw(digits, 2)}${draw(alphanumeric, 10)}`,
  },
  nationalId: {
    names: ['cpf', 'pesel', 'national-id', 'passport-number'],
    make: () => `${pick('123456789')}${draw(digits, 10)}`,
  },
};
const byName: Record<string, () => string> = {
  password: () => `${draw(lower, 5)}-${draw(lower, 6)}!${draw(digits, 2)}`,
  awkwardPassword: () => draw(alphanumeric, 4) + draw('!$*;,/?)(', 4) + draw(alphanumeric, 6),
  shortKey: () => `demo-${draw('0123456789abcdef', 24)}`,
  uuid: () => [8, 4, 4, 4, 12].map((length) => draw('0123456789abcdef', length)).join('-'),
  word: () => draw(lower, 12),
  number: () => draw(digits, 9),
};

const everyChar = (text: string): string =>
  [...Buffer.from(text)].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('');
const encodings: Record<string, (text: string) => string> = {
  plain: (text) => text,
  percent: encodeURIComponent,
  everyCharPercent: everyChar,
  doublePercent: (text) => encodeURIComponent(everyChar(text)),
  base64: (text) => Buffer.from(text).toString('base64'),
  base64url,
  percentOfBase64: (text) => encodeURIComponent(Buffer.from(text).toString('base64')),
  base64OfPercent: (text) => base64url(encodeURIComponent(text)),
};
const jsonEscaped = (text: string): string =>
  Array.from(text, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`).join('');

const key = Buffer.from('a key for tests, of more than 32 bytes');
const sanitizer = createSanitizer({ key, secretNames: ['X-Tenant-Badge'] });

const secretNames = [
  'authorization', 'Authorization', 'PROXY-AUTHORIZATION', 'apikey', 'API_KEY', 'x-api-key', 'x-acme-api-key', 'token',
  'access_token', 'accessToken', 'REFRESH-TOKEN', 'id_token', 'password', 'PassWd', 'pwd', 'user[password]', 'secret',
  'client_secret', 'clientSecret', 'session', 'sid', 'SessionId', 'JSESSIONID', 'phpsessid', 'connect.sid', 'csrf',
  'x-xsrf-token', 'jwt', 'signature', 'sig', 'X-Amz-Signature', 'X-Amz-Credential', 'code', 'otp', 'pin', 'key', 'auth',
  'credential', 'private_key', 'new_password2', 'x-tenant-badge', 'X_TENANT_BADGE', 'ocp-apim-subscription-key',
]; // prettier-ignore
const name = (): string => pick(secretNames);
const json = JSON.stringify;

/** A place: what the sanitiser makes of the secret there. */
type Place = (secret: string) => string;

const shapePlaces: Record<string, Place> = {
  text: (secret) => sanitizer.text(secret),
  'text between words': (secret) => sanitizer.text(`see ${secret} there`),
  'text in punctuation': (secret) => sanitizer.text(`(ref "${secret}"), end`),
  'harmless parameter': (secret) => sanitizer.parameter('q', secret),
  path: (secret) => sanitizer.path(`/users/${secret.replaceAll('/', '%2F')}/orders`),
  'end of a path': (secret) => sanitizer.path(`/verify/${secret.replaceAll('/', '%2F')}`),
  query: (secret) =>
    sanitizer.url(`/search?page=2&q=${secret.replace(/[&#+ ]/g, encodeURIComponent)}&sort=-created_at`),
  'query with + for blanks': (secret) =>
    sanitizer.url(`/search?q=${secret.replace(/[&#+]/g, encodeURIComponent).replaceAll(' ', '+')}`),
  'name of a parameter': (secret) => sanitizer.url(`/search?${encodeURIComponent(secret)}=1`),
  fragment: (secret) => sanitizer.url(`https://www.example.com/start#${secret}`),
  'nested URL': (secret) =>
    sanitizer.url(`/login?next=${encodeURIComponent(`/back?q=${encodeURIComponent(secret)}`)}`),
  'value in JSON': (secret) =>
    sanitizer.unknown(json({ request: { headers: { 'user-agent': `agent ${secret}` } } })),
  'broken JSON': (secret) =>
    sanitizer.unknown(`{"request":{"uri":"/users/${secret.replaceAll('/', '%2F')}?x=1","he`),
  'escaped in JSON': (secret) => sanitizer.unknown(`{"q":"${jsonEscaped(secret)}"}`),
  'JSON in JSON': (secret) => sanitizer.unknown(json({ body: json({ note: secret }) })),
};

const namedPlaces: Record<string, Place> = {
  parameter: (secret) => sanitizer.parameter(name(), secret),
  'upper-case name': (secret) => sanitizer.parameter(name().toUpperCase().replace('CONNECT.', ''), secret),
  bearer: (secret) => sanitizer.parameter('Authorization', `Bearer ${secret}`),
  'bearer in text': (secret) => sanitizer.text(`sent Bearer ${secret.replace(/[ ;,]/g, '_')}`),
  'query parameter': (secret) => sanitizer.url(`https://api.example.com/a?x=1&${name()}=${encodeURIComponent(secret)}&y=2`),
  'encoded name': (secret) => sanitizer.url(`/a?${everyChar(name())}=${encodeURIComponent(secret)}`),
  'raw query parameter': (secret) => sanitizer.url(`/a?${name()}=${secret.replace(/[&#]/g, '_')}`),
  fragment: (secret) => sanitizer.url(`https://app.example.com/cb#state=1&${name()}=${encodeURIComponent(secret)}`),
  'user info': (secret) => sanitizer.url(`https://bob:${encodeURIComponent(secret)}@api.example.com/a`),
  'user info in text': (secret) => sanitizer.text(`proxy http://${encodeURIComponent(secret)}@10.0.0.1:3128/ failed`),
  'nested URL': (secret) => sanitizer.url(`/login?next=${encodeURIComponent(`/back?${name()}=${encodeURIComponent(secret)}`)}`),
  cookie: (secret) => json(sanitizer.cookies(`theme=dark; sid=${secret.replaceAll(';', '_')}`)),
  'cookie with a harmless name': (secret) => json(sanitizer.cookies(`lang=${secret.replaceAll(';', '_')}`)),
  'cookie without a name': (secret) => json(sanitizer.cookies(secret.replace(/[;=]/g, '_'))),
  'path segment': (secret) => sanitizer.path(`/v1/${pick(['token', 'apikey', 'access_token'])}/x${encodeURIComponent(secret)}/use`),
  'matrix parameter': (secret) => sanitizer.path(`/cart;jsessionid=${encodeURIComponent(secret)};v=1`),
  JSON: (secret) => sanitizer.unknown(json({ request: { querystring: { [name()]: secret, page: '2' } } })),
  'array in JSON': (secret) => sanitizer.unknown(json({ headers: { [name()]: ['first', secret, 'last'] } })),
  'object in JSON': (secret) => sanitizer.unknown(json({ credentials: { user: 'x', parts: [{ value: secret }] } })),
  'indented JSON': (secret) => sanitizer.unknown(json({ [name()]: secret, list: [1] }, null, 2)),
  'JSON in JSON': (secret) => sanitizer.unknown(json({ body: json({ [name()]: secret }) })),
  'parameter with JSON': (secret) => sanitizer.parameter('filter', json({ [name()]: secret })),
  'cookie header in JSON': (secret) => sanitizer.unknown(json({ cookie: [`a=1; lang=${secret}`, `b=${secret}`] })),
  'escaped name in JSON': (secret) => sanitizer.unknown(`{"${jsonEscaped(name())}":${json(secret)}}`),
  'uri in JSON': (secret) => sanitizer.unknown(json({ uri: `/a?b=1&${name()}=${encodeURIComponent(secret)}&c=2`, x: 1 })),
  'broken JSON': (secret) => sanitizer.unknown(`{"request":{"headers":{"x-api-key":${json(secret).slice(0, -1)}`),
  'header line': (secret) => sanitizer.unknown(`GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Basic ${secret}\r\nAccept: */*`),
  'cookie line': (secret) => sanitizer.unknown(`Host: x\r\nCookie: a=1; b=${secret}; c=3\r\n\r\n`),
  'form in text': (secret) => sanitizer.text(`grant_type=password&password=${encodeURIComponent(secret)}&scope=a`),
}; // prettier-ignore

const judgedPlaces: Record<string, (name: string, secret: string) => string> = {
  parameter: (name, secret) => sanitizer.parameter(name, secret),
  'upper-case name': (name, secret) => sanitizer.parameter(name.toUpperCase(), secret),
  query: (name, secret) => sanitizer.url(`/a?page=2&${name}=${secret}&sort=x`),
  'path segment': (name, secret) => sanitizer.path(`/v1/${name}/${secret}/use`),
  'end of a path': (name, secret) => sanitizer.path(`/${name}/${secret}`),
  'encoded path': (name, secret) =>
    sanitizer.url(`/login?next=${encodeURIComponent(`/v1/${name}/${secret}?a=1`)}`),
  'encoded segment': (name, secret) => sanitizer.path(`/v1/${name}/${everyChar(secret)}`),
  fragment: (name, secret) => sanitizer.url(`https://app.example.com/#/${name}/${secret}`),
  'pair in a fragment': (name, secret) => sanitizer.url(`https://app.example.com/#${name}=${secret}`),
  'matrix parameter': (name, secret) => sanitizer.path(`/cart;${name}=${secret};v=1`),
  text: (name, secret) => sanitizer.text(`see https://app.example.com/${name}/${secret} there`),
  JSON: (name, secret) => sanitizer.unknown(json({ body: { [name]: secret, page: '2' } })),
  'JSON in JSON': (name, secret) => sanitizer.unknown(json({ body: json({ [name]: secret }) })),
};

/** All that someone could read the output as: decoded up to three times, and the base64 in it decoded. In lower case. */
function readings(output: string): string {
  const all = new Set([output]);
  let decoded = output;
  for (let round = 0; round < 3 && /[%\\+]/.test(decoded); round++) {
    decoded = decoded
      .replace(/\\u([0-9a-f]{4})/gi, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)))
      .replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)))
      .replaceAll('\\', '');
    all.add(decoded).add(decoded.replaceAll('+', ' '));
  }
  const runs = new Set(
    Array.from(all).flatMap((reading) => reading.match(/[A-Za-z0-9+/_-]{8,}={0,2}/g) ?? []),
  );
  for (const run of runs) {
    const plain = Buffer.from(run, 'base64').toString('latin1');
    all
      .add(plain)
      .add(plain.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(parseInt(hex, 16))));
  }
  return Array.from(all).join('\n').toLowerCase();
}

function leaks(output: string, secret: string): boolean {
  const needles = [secret, Buffer.from(secret).toString('base64').replace(/=+$/, ''), base64url(secret)];
  if (/^[\d -]{13,}$/.test(secret)) needles.push(secret.replace(/[ -]/g, ''));
  const read = readings(output);
  return needles.some((needle) => read.includes(needle.toLowerCase()));
}

const perKind = 20;
const shapeCanaries = Object.entries(byShape).flatMap(([kind, make]) =>
  Array.from({ length: perKind }, () => ({ kind, secret: make() })),
);
const nameCanaries = Object.entries(byName).flatMap(([kind, make]) =>
  Array.from({ length: perKind }, () => ({ kind, secret: make() })),
);

test('there are at least 500 distinct canaries', () => {
  const all = new Set([...shapeCanaries, ...nameCanaries].map(({ secret }) => secret));
  expect(all.size).toBeGreaterThanOrEqual(500);
});

test('no canary with a recognisable shape comes out of any place in any encoding', () => {
  const leaked: string[] = [];
  for (const { kind, secret } of shapeCanaries) {
    for (const [encoding, encode] of Object.entries(encodings)) {
      for (const [place, put] of Object.entries(shapePlaces)) {
        const output = put(encode(secret));
        if (leaks(output, secret)) leaked.push(`${kind}, ${encoding}, ${place}: ${secret} -> ${output}`);
      }
    }
  }
  expect(leaked.slice(0, 20)).toEqual([]);
});

test('no canary comes out of a place whose name tells that it is secret, in any encoding', () => {
  const leaked: string[] = [];
  // Of those with a shape every sixth: their kind does not matter here.
  for (const { kind, secret } of [...nameCanaries, ...shapeCanaries.filter((_, index) => index % 6 === 0)]) {
    for (const [encoding, encode] of Object.entries(encodings)) {
      for (const [place, put] of Object.entries(namedPlaces)) {
        const output = put(encode(secret));
        if (leaks(output, secret)) leaked.push(`${kind}, ${encoding}, ${place}: ${secret} -> ${output}`);
      }
    }
  }
  expect(leaked.slice(0, 20)).toEqual([]);
});

test('no canary comes out after the name of a link, a ticket or a national id', () => {
  const leaked: string[] = [];
  for (const [kind, { names, make }] of Object.entries(byNameAndLook)) {
    for (const name of names) {
      for (const secret of Array.from({ length: perKind }, make)) {
        for (const [place, put] of Object.entries(judgedPlaces)) {
          const output = put(name, secret);
          if (output.includes(secret)) leaked.push(`${kind}, ${place}: ${name} ${secret} -> ${output}`);
        }
      }
    }
  }
  expect(leaked.slice(0, 20)).toEqual([]);
});

test('user and password in base64 go without the word Basic in front', () => {
  for (let index = 0; index < 100; index++) {
    const secret = `${draw(lower, 6)}:${draw(alphanumeric + '!?$', 10)}`;
    const encoded = Buffer.from(secret).toString('base64');
    for (const output of [
      sanitizer.text(`sent ${encoded} to it`),
      sanitizer.path(`/login/${encoded.replaceAll('/', '%2F')}`),
      sanitizer.url(`/login?u=${encodeURIComponent(encoded)}`),
    ]) {
      expect(leaks(output, secret), `${secret} -> ${output}`).toBe(false);
    }
  }
});

test('a private key in PEM goes as a whole, with line breaks or escaped', () => {
  const body = Array.from({ length: 6 }, () => draw(alphanumeric + '+/', 64));
  const pem = `-----BEGIN RSA PRIVATE KEY-----\n${body.join('\n')}\n-----END RSA PRIVATE KEY-----`;
  for (const output of [
    sanitizer.text(`here: ${pem} done`),
    sanitizer.unknown(json({ note: pem })),
    sanitizer.parameter('q', encodeURIComponent(pem)),
    sanitizer.text(pem.slice(0, 300)),
  ]) {
    for (const line of body) expect(leaks(output, line), output).toBe(false);
  }
});

test('a secret cannot hide behind the bound on length: it is cut off with the rest', () => {
  for (const { secret } of shapeCanaries.filter((_, index) => index % 4 === 0)) {
    for (const before of [8_100, 8_150, 8_160, 8_170, 8_185, 8_192, 20_000]) {
      const output = sanitizer.unknown(
        `${'{"a":"b"},'.repeat(before / 10).slice(0, before)}"${secret}" and more ${'x '.repeat(100)}`,
      );
      expect(leaks(output, secret)).toBe(false);
    }
  }
});
