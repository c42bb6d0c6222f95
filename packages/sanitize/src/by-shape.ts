import { decodeBase64Text, looksRandom } from './opaque.ts';
import type { Hit } from './rules.ts';

const schemes = /(?<![A-Za-z0-9])(bearer|basic|digest|token|apikey)[ \t]+([^\s"',;<>]+)/gi;

/** `Bearer <value>`, `Basic <value>`, `Digest <the rest of the line>`; words of prose after Basic and Token stay. */
export function findSchemes(text: string, into: Hit[]): void {
  for (const match of text.matchAll(schemes)) {
    const value = match[2]!;
    const end = match.index + match[0].length;
    const start = end - value.length;
    const name = match[1]!.toLowerCase();
    if (name === 'digest' && /^\w+=/.test(value)) {
      const lineEnd = /[\r\n]/.exec(text.slice(start))?.index ?? text.length - start;
      into.push({ start, end: start + lineEnd, kind: 'secret', secret: text.slice(start, start + lineEnd) });
      continue;
    }
    // `Basic realm="service"` is what a server asks with.
    if (/^[a-z_]+=$/i.test(value) && text.charAt(end) === '"') continue;
    if (name !== 'bearer' && /^[A-Za-z]?[a-z]+[.:!?]?$/.test(value) && !isCredential(value)) continue;
    into.push({ start, end, kind: 'secret', secret: value });
  }
}

function isCredential(value: string): boolean {
  const decoded = decodeBase64Text(value);
  return decoded !== undefined && decoded.includes(':');
}

const pem = /-----BEGIN [A-Z0-9 ]{1,40}-----[^]*?(?:-----END [A-Z0-9 ]{1,40}-----|$)/g;

export function findPem(text: string, into: Hit[]): void {
  for (const match of text.matchAll(pem)) {
    into.push({ start: match.index, end: match.index + match[0].length, kind: 'secret', secret: match[0] });
  }
}

const maxUserInfoChars = 512;

/** `user:password@` and `user@` after `//`. Tells where each @ stands, as it belongs to no address. */
export function findUserInfo(text: string, into: Hit[]): Set<number> {
  const ends = new Set<number>();
  for (let slashes = text.indexOf('//'); slashes >= 0; slashes = text.indexOf('//', slashes + 2)) {
    const start = slashes + 2;
    const limit = Math.min(text.length, start + maxUserInfoChars);
    let end = start;
    let at = -1;
    let firstSlash = -1;
    for (; end < limit && !/[\s"'<>?#]/.test(text.charAt(end)); end++) {
      const code = text.charCodeAt(end);
      if (code === 47) {
        if (firstSlash < 0) firstSlash = end;
        if (at >= 0 || text.charCodeAt(end + 1) === 47) break;
        // A slash ends the authority, unless what looks like a port is none: then it is part of a password.
        if (!/:\D/.test(text.slice(start, firstSlash))) break;
      } else if (code === 64) at = end;
    }
    if (at <= start) continue;
    ends.add(at);
    into.push({ start, end: at, kind: 'secret', secret: text.slice(start, at) });
  }
  return ends;
}

const maxLocalChars = 64;
const maxDomainChars = 253;

function isLocalChar(code: number): boolean {
  return (
    (code >= 97 && code <= 122) ||
    (code >= 64 && code <= 90 && code !== 64) ||
    (code >= 48 && code <= 57) ||
    (code >= 128 && code !== 0xffff && code !== 0xfffd) ||
    code === 46 || // .
    code === 95 || // _
    code === 45 || // -
    code === 43 // +
  );
}

/** E-mail addresses, around each @ that is not in `userInfo`. */
export function findEmails(text: string, userInfo: ReadonlySet<number>, into: Hit[]): void {
  for (let at = text.indexOf('@'); at >= 0; at = text.indexOf('@', at + 1)) {
    if (userInfo.has(at)) continue;
    let start = at;
    while (start > 0 && at - start < maxLocalChars && isLocalChar(text.charCodeAt(start - 1))) start--;
    // The digits of `%3D` are not part of the address.
    if (text.charCodeAt(start - 1) === 37 && /^[0-9a-f]{2}/i.test(text.slice(start, at))) start += 2;
    if (start >= at) continue;
    let end = at + 1;
    while (end < text.length && end - at < maxDomainChars && isDomainChar(text.charCodeAt(end))) end++;
    while (end > at + 1 && /[.-]/.test(text.charAt(end - 1))) end--;
    const domain = text.slice(at + 1, end);
    const dot = domain.lastIndexOf('.');
    // `package@1.2.3` and `logo@2x.png` are none.
    if (dot < 1 || domain.length - dot < 3 || /\d$|^\dx\./.test(domain)) continue;
    into.push({ start, end, kind: 'email', secret: text.slice(start, end).toLowerCase() });
  }
}

function isDomainChar(code: number): boolean {
  return isLocalChar(code) && code !== 95 && code !== 43;
}

/** Key formats that their issuers made recognisable. `sk-` alone also begins ordinary words: see below. */
const knownKeys = new RegExp(
  '(?<![A-Za-z0-9])(?:' +
    [
      'eyJ[\\w-]{8,}(?:\\.[\\w-]*)*', // JSON Web Token
      'gh[opusr]_[A-Za-z0-9]{16,}',
      'github_pat_\\w{16,}',
      'glpat-[\\w-]{16,}',
      'npm_[A-Za-z0-9]{30,}',
      '[sr]k_(?:live|test)_[A-Za-z0-9]{10,}',
      'whsec_[A-Za-z0-9+/=]{16,}',
      'sk-[\\w-]{20,}',
      'xox[a-z]-[\\w-]{10,}',
      'xapp-[\\w-]{10,}',
      '(?:AKIA|ASIA)[A-Z0-9]{16}',
      'AIza[\\w-]{30,}',
      'ya29\\.[\\w-]{16,}',
      'SG\\.[\\w-]{16,}\\.[\\w-]{16,}',
      'hf_[A-Za-z0-9]{30,}',
      'shp(?:at|ca|pa|ss)_[A-Fa-f0-9]{32}',
      '(?:ST|PT|PGT|TGT|PGTIOU)-\\d{1,10}-(?=[A-Za-z_.-]*\\d)[\\w.-]{10,}', // CAS
      '(?<=bot\\d{6,12}:)[\\w-]{30,}', // Telegram
      '(?<=services/T[A-Z0-9]{5,12}/B[A-Z0-9]{5,12}/)[A-Za-z0-9]{16,}', // Slack
      '(?<=\\([SFAX]\\()[A-Za-z0-9_-]{20,}', // ASP.NET without cookies
      '(?<=[/=]private-)(?=[a-z]*\\d)[a-z0-9]{10,}', // calendars
    ].join('|') +
    ')',
  'g',
);

export function findKnownKeys(text: string, into: Hit[]): void {
  for (const match of text.matchAll(knownKeys)) {
    const key = match[0];
    // A slug such as sk-sneakers-for-children has no capital and digit.
    if (key.startsWith('sk-') && !(/\d/.test(key) && /[A-Z]/.test(key)) && !looksRandom(key)) continue;
    into.push({ start: match.index, end: match.index + key.length, kind: 'secret', secret: key });
  }
}
