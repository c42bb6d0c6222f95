import { boundOf, confidence, deviationOf, isUnknown, singles, SMALL } from './counts.ts';
import { natureOf, type Nature, type ParameterProfile } from './profile.ts';
import { rarity, total, type Surprise } from './surprise.ts';
import { kinds, kindWords, type Kind, type SeenValue } from './value.ts';

/** A shape that nobody writes by chance, in a parameter that allows any text: from 50 values on, and hardly more than the threshold. */
const CERTAIN_ATTACK_MOST = 2.2;
/** Kinds that are nothing new where the kind on the left is usual. */
const includes: Partial<Record<Kind, readonly Kind[]>> = {
  decimal: ['integer'],
  slug: ['word', 'integer'],
  hex: ['integer'],
  token: ['word', 'slug', 'hex', 'integer', 'uuid'],
  list: ['integer', 'decimal', 'word', 'slug'],
  path: ['word', 'slug'],
  ip: ['slug'],
  json: ['list'],
};
/** The other way round: kinds of which each kind is nothing new, itself among them. */
const including = Object.fromEntries(
  kinds.map((kind) => [kind, kinds.filter((one) => one === kind || includes[one]?.includes(kind))]),
) as Record<Kind, Kind[]>;
const textIncludes: readonly Kind[] = [
  'boolean',
  'integer',
  'decimal',
  'date',
  'word',
  'slug',
  'list',
  'text',
];

/** Changes of kind that are harmless by themselves: at most so many decades (usual kind, then seen kind). */
const mild: readonly [usual: Kind, seen: Kind, decades: number][] = [
  ['integer', 'decimal', 1.7],
  ['boolean', 'integer', 0.6],
  ['integer', 'boolean', 1],
  ['word', 'slug', 1.2],
  ['list', 'text', 1.5],
  ['url', 'path', 1.5],
  ['json', 'text', 1.8],
  ['masked', 'token', 0.5],
  ['masked', 'hex', 0.5],
  ['masked', 'uuid', 0.5],
  ['masked', 'slug', 1.2],
  ['masked', 'word', 1.2],
  ['token', 'masked', 0.5],
  ['hex', 'masked', 0.5],
  ['uuid', 'masked', 0.5],
  ['hex', 'token', 1.5],
  ['token', 'path', 0.8],
  ['slug', 'token', 1],
  ['slug', 'hex', 0.8],
  ['word', 'email', 1.5],
  ['slug', 'email', 1.2],
  ['slug', 'decimal', 1],
  ['slug', 'date', 1.2],
  ['slug', 'path', 1.7],
];

/**
 * What surprises about the values that one call has for the parameter, under the profile; largest first. `name` is the
 * parameter's name as reasons say it.
 */
export function judgeParameter(
  profile: ParameterProfile,
  name: string,
  values: readonly SeenValue[],
  count: number,
): Surprise[] {
  const found: Surprise[] = [];
  const nature = (profile.nature ??= natureOf(profile));
  judgeCount(profile, name, count, found);
  let worst: Surprise[] = [];
  for (const value of values) {
    const surprises = judgeValue(profile, nature, name, value);
    if (total(surprises) > total(worst)) worst = surprises;
  }
  found.push(...worst);
  return found.sort((a, b) => b.decades - a.decades);
}

/** Several values under a name that usually has one: the next program may take another one than the last did. */
function judgeCount(profile: ParameterProfile, name: string, count: number, found: Surprise[]): void {
  if (count < 2 || profile.most.length === 0) return;
  const bound = boundOf(profile.most, profile.calls);
  if (bound > 1 || name.endsWith('[]')) {
    const times = Math.log10((count + SMALL) / (Math.max(bound, 4) + SMALL)) - 0.3;
    if (times <= 0) return;
    found.push({
      decades: (times / 0.25) * confidence(profile.calls),
      reason: `"${name}" has ${count} values; usual are up to ${bound}`,
      news: undefined,
    });
    return;
  }
  found.push({
    decades: rarity(profile.several, profile.calls, 0.12),
    reason: `"${name}" is there ${count} times; usual is once`,
    news: `several ${name}`,
  });
}

function judgeValue(profile: ParameterProfile, nature: Nature, name: string, value: SeenValue): Surprise[] {
  const found: Surprise[] = [];
  const { kind } = value;
  const { values } = profile;
  const say: Say = (decades, reason, news) => {
    if (decades > 0.05) found.push({ decades, reason: reason(), news });
  };
  if (kind === 'empty') {
    const decades = Math.min(1, rarity(profile.kinds.empty ?? 0, profile.calls, 0.5));
    if (decades > 0.05) found.push({ decades, reason: `"${name}" is empty`, news: undefined, mild: true });
    return found;
  }
  if (values === 0) return found;

  const { decades: kindDecades, harmless } = kindSurprise(profile, nature, value);
  say(kindDecades, () => `"${name}" is ${described(value)}; usual is ${usualWords(profile, nature)}`);

  const encoding = encodingSurprise(profile, nature, value);
  if (encoding) say(encoding.decades, () => `"${name}" ${encoding.words}`);

  if (value.numbers.length > 0 && kind !== 'date' && profile.numbers.count > 0) {
    numberSurprise(profile, name, value, say);
  } else if (kind === 'date' && value.numbers.length > 0 && profile.dates.count > 0) {
    dateSurprise(profile, name, value.numbers[0]!, say);
  } else {
    varietySurprise(profile, nature, name, value, say);
    lengthSurprise(profile, nature, name, value, say);
  }

  if (!value.attack) return found;
  const { name: shape, weakness, certain } = value.attack;
  const allowed = profile.attacks >= 2 && profile.attacks >= 0.02 * values;
  const reason = `"${name}" looks like ${article(shape)}`;
  if (certain) {
    const decades = Math.min(CERTAIN_ATTACK_MOST, rarity(profile.certainAttacks, values, 0.3));
    found.push({ decades, reason, news: undefined, weakness });
  }
  // Only where the profile is surprised anyway, and not for what people write in sentences.
  if (!allowed && !harmless && total(found) >= 0.5) {
    found.push({ decades: 1.5, reason, news: undefined, supports: true, weakness });
  }
  return found;
}

function article(name: string): string {
  return /^(SQL|cross|path|command)/.test(name) ? name : `a ${name}`;
}

function described(value: SeenValue): string {
  if (value.kind === 'integer')
    return value.digits > 12 ? `an integer of ${value.digits} digits` : 'an integer';
  if (value.kind === 'word' || value.kind === 'text' || value.kind === 'symbols' || value.kind === 'slug') {
    return `${kindWords[value.kind]} (${value.length} characters)`;
  }
  return kindWords[value.kind];
}

function usualWords(profile: ParameterProfile, nature: Nature): string {
  if (nature.freeText) return 'free text';
  const share = Math.round((100 * (profile.kinds[nature.usual] ?? 0)) / profile.values);
  return `${kindWords[nature.usual]} (${share} % of ${profile.values})`;
}

/** `harmless`: natural text where people write text, whatever words it is made of. */
function kindSurprise(
  profile: ParameterProfile,
  nature: Nature,
  value: SeenValue,
): { decades: number; harmless: boolean } {
  const { kind } = value;
  const { values } = profile;
  if (nature.freeText) {
    if (textIncludes.includes(kind) && !value.control) return { decades: 0, harmless: true };
    const seen = profile.kinds[kind] ?? 0;
    const decades = rarity(seen, values, 0.3);
    // Angle brackets or braces in a sentence are rare, not wrong; with the shape of an attack they count in full.
    return { decades: value.attack ? decades : Math.min(1.4, decades), harmless: false };
  }
  let known = 0;
  for (const one of including[kind]) known += profile.kinds[one] ?? 0;
  // Random text is of several kinds by chance, a name may have a hyphen: open parameters allow their neighbours.
  let decades = rarity(known, values, 0.15);
  if (!value.attack) {
    for (const [usual, seen, most] of mild) {
      if (usual === nature.usual && seen === kind) decades = Math.min(decades, most);
    }
    if (nature.open && kind === 'text' && (nature.usual === 'word' || nature.usual === 'email')) {
      decades = Math.min(decades, 1.2);
    }
    if (nature.open && kind === 'text' && nature.usual === 'slug') decades = Math.min(decades, 1.6);
  }
  return { decades, harmless: false };
}

function encodingSurprise(
  profile: ParameterProfile,
  nature: Nature,
  value: SeenValue,
): { decades: number; words: string } | undefined {
  const { values } = profile;
  if (value.control)
    return { decades: rarity(profile.control, values, 0.1) + 0.5, words: 'has control characters in it' };
  if (value.doubleEncoded) {
    return { decades: rarity(profile.doubleEncoded, values, 0.1), words: 'is encoded more than once' };
  }
  if (value.headerBreak) {
    return {
      decades: rarity(profile.lineBreaks, values, 0.15),
      words: 'has a line break with a header behind it',
    };
  }
  if (value.lineBreak) {
    const decades = rarity(profile.lineBreaks, values, 0.15);
    return { decades: nature.freeText ? Math.min(1, decades) : decades, words: 'has a line break in it' };
  }
  if (value.encoded) {
    return {
      decades: Math.min(1.2, rarity(profile.encoded, values, 0.3)),
      words: 'is percent-encoded once more than usual',
    };
  }
  return undefined;
}

/** Nearly all values surprise nobody: what to say of one is only put into words where it is said. */
type Say = (decades: number, reason: () => string, news?: string) => void;

function numberSurprise(profile: ParameterProfile, name: string, value: SeenValue, say: Say): void {
  // Of several readings the most usual one.
  let least: NumberReading | undefined;
  for (const number of value.numbers) {
    const one = numberReading(profile, name, number, value.kind === 'integer');
    if (!least || one.decades < least.decades) least = one;
  }
  if (least) say(least.decades, least.reason);
}

interface NumberReading {
  decades: number;
  reason: () => string;
}

function numberReading(
  profile: ParameterProfile,
  name: string,
  number: number,
  integer: boolean,
): NumberReading {
  const { numbers } = profile;
  const { count } = numbers;
  const high = boundOf(numbers.highs, count);
  const low = boundOf(numbers.lows, count);
  const usual = (): string => `usual is ${shown(low)} to ${shown(high)}`;
  if (!Number.isFinite(number))
    return { decades: 3, reason: () => `"${name}" is too large for a number; ${usual()}` };
  if (number < 0 && profile.negatives < 0.1 * count) {
    return {
      decades: rarity(profile.negatives, count, 0.12),
      reason: () => `"${name}" is negative (${shown(number)}); ${usual()}`,
    };
  }
  if (number === 0 && profile.zeros === 0 && low > 0) {
    return { decades: Math.min(1.5, rarity(0, count, 0.5)), reason: () => `"${name}" is 0; ${usual()}` };
  }
  const whole = (profile.kinds.decimal ?? 0) === 0;
  const offset = whole ? SMALL : 0;
  // Half a decade is nothing where the values themselves spread over decades; what rises steadily may go on rising.
  const spread = 0.15 + 0.5 * Math.min(1.5, deviationOf(numbers));
  const unit = numbers.rises > 0.3 * count && count >= 5 ? spread * 2 : spread;
  const largest = Math.max(Math.abs(high), Math.abs(low));
  const above = Math.log10((Math.abs(number) + offset) / (largest + offset || 1e-6)) - 0.3;
  if (above > 0) {
    const beyond = number > high || number < low;
    return {
      decades: beyond ? (above / unit) * confidence(count) : 0,
      reason: () => `"${name}" is ${shown(number)}; ${usual()}`,
    };
  }
  if (low > 0 && number > 0 && number < low) {
    const below = Math.log10((low + offset) / (number + offset)) - 0.3;
    const decades = below <= 0 ? 0 : (below / unit) * confidence(count);
    // Old objects have low numbers, and one item is less than ten: a small integer is no attack by itself.
    return {
      decades: integer && whole ? Math.min(1.5, decades) : decades,
      reason: () => `"${name}" is ${shown(number)}; ${usual()}`,
    };
  }
  // Off the values of a small closed set, but within their range: 25 where 10, 20 and 50 are usual.
  return { decades: 0, reason: () => '' };
}

/** Long numbers may be card or account numbers: their size says enough. */
function shown(number: number): string {
  const digits = Math.abs(number) >= 1 ? Math.floor(Math.log10(Math.abs(number))) + 1 : 1;
  return digits > 10 ? `a number of ${digits} digits` : String(Number(number.toPrecision(4)));
}

const DAY_MS = 86_400_000;

function dateSurprise(profile: ParameterProfile, name: string, ms: number, say: Say): void {
  const { dates } = profile;
  const high = boundOf(dates.highs, dates.count);
  const low = boundOf(dates.lows, dates.count);
  const beyondMs = ms > high ? ms - high : ms < low ? low - ms : 0;
  // Time goes on: what counts is how much further away than all that was learnt, and than two years.
  const times = Math.log10(beyondMs / Math.max(high - low, 730 * DAY_MS) || 1);
  if (times > 0) {
    say(
      times * 2.5 * confidence(dates.count),
      () => `"${name}" is ${Math.round(beyondMs / DAY_MS)} days outside the usual dates`,
    );
  }
}

const numeric: readonly Kind[] = ['integer', 'decimal', 'date'];
/** New ones are new by nature; a closed set of them is one tenant's. */
const identifying: readonly Kind[] = ['uuid', 'hex', 'token', 'masked', 'email'];

function varietySurprise(
  profile: ParameterProfile,
  nature: Nature,
  name: string,
  value: SeenValue,
  say: Say,
): void {
  const { values, variety } = profile;
  const unknown = value.hashes.filter((hash) => isUnknown(variety, hash, values));
  if (unknown.length > 0 && value.kind !== 'boolean' && !numeric.includes(value.kind)) {
    const decades = Math.max(0, -Math.log10(nature.newShare));
    const reason = (): string => {
      if (value.kind === 'json') return `"${name}" has a member that was never seen`;
      const known = [...variety.counts.values()].filter((count) => count > 1).length;
      const others = known === 1 ? 'is one' : `are ${known} others`;
      return `"${name}" has a value that was never seen; usual ${others} (${values} seen)`;
    };
    say(
      identifying.includes(value.kind) || value.kind === 'json' ? Math.min(1.2, decades) : decades,
      reason,
      `value ${name} ${unknown[0]}`,
    );
  }
  const { form } = value;
  if (form === '' || !nature.open || nature.freeText || !isUnknown(profile.forms, form, values)) return;
  const decades = rarity(singles(profile.forms), values, 0.5);
  if (value.kind === 'url') say(decades, () => `"${name}" points to another host than usual`);
  else if (value.kind === 'path')
    say(Math.min(1.6, decades), () => `"${name}" has another ending than usual`);
  else if (nature.usual === 'slug') {
    // The form of ids such as "SKU-1234" is told only where there is hardly more than one.
    const strict = profile.forms.counts.size <= 2 && (profile.kinds.word ?? 0) === 0;
    say(strict ? decades : Math.min(1.2, decades), () => `"${name}" has another form than usual`);
  }
}

function lengthSurprise(
  profile: ParameterProfile,
  nature: Nature,
  name: string,
  value: SeenValue,
  say: Say,
): void {
  const { lengths } = profile;
  const high = boundOf(lengths.highs, lengths.count);
  const above = Math.log10((value.length + SMALL) / (high + SMALL)) - 0.3;
  if (above <= 0) return;
  const loose = nature.freeText || value.kind === 'json' || value.kind === 'masked' ? 1.4 : 1;
  // A cursor or token holds what its maker puts in: five times as long is another version, twenty times is not.
  const unit = (0.12 + 0.5 * deviationOf(lengths)) * (value.kind === 'token' ? 2.2 : loose);
  say(
    (above / unit) * confidence(lengths.count),
    () => `"${name}" has ${value.length} characters; usual are up to ${high}`,
  );
}
