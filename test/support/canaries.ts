/** Made-up secrets, and the search for them in whatever comes out. */

/** Mulberry32: the same canaries in every run. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

const next = seeded(7_102_026);
const upper = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ';
const lower = upper.toLowerCase();
const digits = '0123456789';
const alphanumeric = upper + lower + digits;
const hexadecimal = '0123456789abcdef';

function pick<T>(list: ArrayLike<T>): T {
  return list[Math.floor(next() * list.length)]!;
}
function draw(alphabet: string, length: number): string {
  let drawn = '';
  while (drawn.length < length) drawn += pick(alphabet);
  return drawn;
}
const base64 = (text: string): string => Buffer.from(text).toString('base64');
const base64url = (text: string): string => Buffer.from(text).toString('base64url');

function card(): string {
  const body = `4${draw(digits, 14)}`;
  let sum = 0;
  for (const [index, char] of Array.from(body).reverse().entries()) {
    const value = Number(char) * (index % 2 === 0 ? 2 : 1);
    sum += value > 9 ? value - 9 : value;
  }
  const number = body + String((10 - (sum % 10)) % 10);
  return number.replace(/(\d{4})(?=\d)/g, `$1${pick(['', ' ', '-'])}`);
}

function iban(): string {
  const [country, body] = pick([
    ['DE', draw(digits, 18)],
    ['GB', draw(upper, 4) + draw(digits, 14)],
    ['FR', draw(digits, 23)],
  ] as const);
  const numeric = Array.from(`${body}${country}00`, (char) => parseInt(char, 36)).join('');
  const plain = country + String(98n - (BigInt(numeric) % 97n)).padStart(2, '0') + body;
  return pick([plain, plain.replace(/(.{4})(?=.)/g, '$1 ')]);
}

/** Recognised wherever they stand. */
const kindsWithShape: Record<string, () => string> = {
  jwt: () =>
    `${base64url('{"alg":"HS256","typ":"JWT"}')}.${base64url(`{"sub":"${draw(lower, 8)}"}`)}.${draw(alphanumeric, 43)}`,
  hex: () => draw(hexadecimal, 40),
  random: () => draw(alphanumeric, 43),
  github: () => `ghp_${draw(alphanumeric, 36)}`,
  aws: () => `AKIA${draw(`${upper}234567`, 16)}`,
  stripe: () => `sk_live_${draw(alphanumeric, 24)}`,
  email: () => `${draw(lower, 8)}.${draw(lower, 4)}@${draw(lower, 7)}.${pick(['com', 'org'])}`,
  upperEmail: () => `${draw(upper, 9)}@${draw(upper, 5)}.COM`,
  card,
  iban,
  phone: () => `+${pick(['49', '33', '44'])}${pick(['', ' '])}${pick('123456789')}${draw(digits, 9)}`,
  own: () => `ACME-${draw(digits, 10)}`,
};
/** Told only by the name of the place where they stand. */
const kindsByName: Record<string, () => string> = {
  password: () => `${draw(lower, 6)}-${draw(lower, 6)}!${draw(digits, 2)}`,
  key: () => `demo-${draw(hexadecimal, 20)}`,
  uuid: () => [8, 4, 4, 4, 12].map((length) => draw(hexadecimal, length)).join('-'),
  word: () => draw(lower, 14),
};

/** What the operator adds for kind `own`. */
export const ownPattern = 'ACME-\\d{10}';

const many = (kinds: Record<string, () => string>, each: number): string[] =>
  Object.values(kinds).flatMap((make) => Array.from({ length: each }, make));

/** Secrets that may stand anywhere: 480 of 12 kinds. */
export const shaped = many(kindsWithShape, 40);
/** Secrets for places whose name says that a secret is there: 160 of 4 kinds. */
export const named = many(kindsByName, 40);

const everyChar = (text: string): string =>
  [...Buffer.from(text)].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('');

export const encodings: ((text: string) => string)[] = [
  (text) => text,
  encodeURIComponent,
  everyChar,
  (text) => encodeURIComponent(everyChar(text)),
  base64,
  base64url,
  (text) => encodeURIComponent(base64(text)),
  (text) => base64url(encodeURIComponent(text)),
];

function percentDecoded(text: string): string {
  return text.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)));
}

/** All that someone could read a text as: percent-encoding and JSON escapes undone three times, base64 once; in lower case. */
function* readings(text: string): Generator<string> {
  yield text.toLowerCase();
  const stages = [text];
  for (let round = 0; round < 3; round++) {
    const before = stages.at(-1)!;
    const decoded = percentDecoded(
      before.replace(/\\u([0-9a-f]{4})/gi, (_, hex: string) => String.fromCharCode(parseInt(hex, 16))),
    );
    if (decoded === before) break;
    stages.push(decoded);
    yield decoded.toLowerCase();
    yield decoded.replaceAll('+', ' ').toLowerCase();
  }
  const decoded: string[] = [];
  const seen = new Set<string>();
  for (const stage of stages) {
    for (const [run] of stage.matchAll(/[A-Za-z0-9+/_-]{12,}/g)) {
      // The same words come again and again.
      if (seen.has(run)) continue;
      seen.add(run);
      const plain = Buffer.from(run, 'base64').toString('latin1');
      decoded.push(plain, percentDecoded(plain), percentDecoded(percentDecoded(plain)));
    }
  }
  yield decoded.join('\n').toLowerCase();
}

const prefixChars = 8;

/** Finds secrets in texts, in clear and in what their encodings come to. */
export function createSearch(secrets: readonly string[]): (text: string) => string[] {
  const byPrefix = new Map<string, { needle: string; secret: string }[]>();
  for (const secret of secrets) {
    const needles = new Set(
      [secret, secret.replace(/[ -]/g, ''), base64(secret).replace(/=+$/, ''), base64url(secret)].map(
        (needle) => needle.toLowerCase(),
      ),
    );
    for (const needle of needles) {
      const prefix = needle.slice(0, prefixChars);
      byPrefix.set(prefix, [...(byPrefix.get(prefix) ?? []), { needle, secret }]);
    }
  }
  return (text) => {
    const found = new Set<string>();
    for (const reading of readings(text)) {
      for (let at = 0; at + prefixChars <= reading.length; at++) {
        const candidates = byPrefix.get(reading.slice(at, at + prefixChars));
        if (!candidates) continue;
        for (const { needle, secret } of candidates) {
          if (!reading.startsWith(needle, at)) continue;
          found.add(`${secret}: …${reading.slice(Math.max(0, at - 40), at + needle.length + 20)}…`);
        }
      }
    }
    return [...found];
  };
}
