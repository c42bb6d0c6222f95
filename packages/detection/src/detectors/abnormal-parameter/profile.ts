import type { ByteReader } from '../../codec/byte-reader.ts';
import type { ByteWriter } from '../../codec/byte-writer.ts';
import {
  addMagnitude,
  addVariety,
  decodeMagnitude,
  decodeVariety,
  encodeMagnitude,
  encodeVariety,
  halveVariety,
  insert,
  logOf,
  newMagnitude,
  newVariety,
  singles,
  SMALL,
  type Magnitude,
  type Variety,
} from './counts.ts';
import { kinds, type Kind, type SeenValue } from './value.ts';

/** Distinct values and forms remembered per parameter, as hashes. */
const VALUES_KEPT = 48;
const FORMS_KEPT = 12;
/** What is known of one parameter of one endpoint. */
export interface ParameterProfile {
  /** Calls in which it was there. */
  calls: number;
  /** Values seen that are not empty. */
  values: number;
  kinds: Partial<Record<Kind, number>>;
  /** Of values, by hash. */
  variety: Variety<number>;
  forms: Variety<string>;
  numbers: Magnitude;
  dates: Magnitude;
  lengths: Magnitude;
  negatives: number;
  zeros: number;
  encoded: number;
  doubleEncoded: number;
  control: number;
  lineBreaks: number;
  attacks: number;
  /** Of these, what nobody writes by chance. */
  certainAttacks: number;
  /** Largest numbers of values in one call, from the outside in; and calls with several. */
  most: number[];
  several: number;
  /** Follows from the rest; undefined after it has changed. */
  nature?: Nature | undefined;
}

/** How the parameter's values usually are; what the judgement of one value rests on. */
export interface Nature {
  usual: Kind;
  /** Sentences are usual, so any natural text is. */
  freeText: boolean;
  /** New values are usual: names, titles, ids. */
  open: boolean;
  /** Share of values that are new, as far as can be told. */
  newShare: number;
}

export function newParameterProfile(): ParameterProfile {
  return {
    calls: 0,
    values: 0,
    kinds: {},
    variety: newVariety(),
    forms: newVariety(),
    numbers: newMagnitude(),
    dates: newMagnitude(),
    lengths: newMagnitude(),
    negatives: 0,
    zeros: 0,
    encoded: 0,
    doubleEncoded: 0,
    control: 0,
    lineBreaks: 0,
    attacks: 0,
    certainAttacks: 0,
    most: [],
    several: 0,
  };
}

/** Learns the values that one call had for the parameter. */
export function learnParameter(profile: ParameterProfile, values: readonly SeenValue[], count: number): void {
  profile.nature = undefined;
  profile.calls++;
  if (count > 1) profile.several++;
  insert(profile.most, count, (a, b) => a > b);
  for (const value of values) {
    if (value.kind === 'empty') {
      profile.kinds.empty = (profile.kinds.empty ?? 0) + 1;
      continue;
    }
    profile.values++;
    profile.kinds[value.kind] = (profile.kinds[value.kind] ?? 0) + 1;
    for (const hash of value.hashes) addVariety(profile.variety, hash, VALUES_KEPT);
    if (value.form !== '') addVariety(profile.forms, value.form, FORMS_KEPT);
    if (value.encoded) profile.encoded++;
    if (value.doubleEncoded) profile.doubleEncoded++;
    if (value.control) profile.control++;
    if (value.lineBreak) profile.lineBreaks++;
    if (value.attack) profile.attacks++;
    if (value.attack?.certain) profile.certainAttacks++;
    const number = value.numbers[0];
    if (value.kind === 'date') {
      if (number !== undefined) addMagnitude(profile.dates, number, 0);
    } else if (number !== undefined && Number.isFinite(number)) {
      addMagnitude(profile.numbers, number, logOf(number));
      if (number < 0) profile.negatives++;
      if (number === 0) profile.zeros++;
    }
    addMagnitude(profile.lengths, value.length, Math.log10(value.length + SMALL));
  }
}

export function natureOf(profile: ParameterProfile): Nature {
  let usual: Kind = 'empty';
  let most = 0;
  for (const kind of kinds) {
    const count = profile.kinds[kind] ?? 0;
    if (kind !== 'empty' && count > most) {
      usual = kind;
      most = count;
    }
  }
  const { values } = profile;
  const texts = (profile.kinds.text ?? 0) + (profile.kinds.symbols ?? 0);
  const newShare = values === 0 ? 1 : (singles(profile.variety) + 0.5) / (values + 1);
  return {
    usual,
    freeText: texts >= 2 && texts >= 0.15 * values && newShare > 0.1,
    open: newShare > 0.1,
    newShare: Math.min(1, newShare),
  };
}

/** Halves what is counted, so that the profile follows what changes and its counts stay bounded. */
export function halveParameter(profile: ParameterProfile): void {
  const half = (count: number): number => count >> 1;
  profile.nature = undefined;
  profile.calls = half(profile.calls);
  profile.values = 0;
  const halved: ParameterProfile['kinds'] = {};
  for (const kind of kinds) {
    const count = half(profile.kinds[kind] ?? 0);
    if (count === 0) continue;
    halved[kind] = count;
    if (kind !== 'empty') profile.values += count;
  }
  profile.kinds = halved;
  halveVariety(profile.variety);
  halveVariety(profile.forms);
  for (const magnitude of [profile.numbers, profile.dates, profile.lengths]) {
    magnitude.count = half(magnitude.count);
    magnitude.squares /= 2;
    magnitude.rises = half(magnitude.rises);
  }
  profile.negatives = half(profile.negatives);
  profile.zeros = half(profile.zeros);
  profile.encoded = half(profile.encoded);
  profile.doubleEncoded = half(profile.doubleEncoded);
  profile.control = half(profile.control);
  profile.lineBreaks = half(profile.lineBreaks);
  profile.attacks = half(profile.attacks);
  profile.certainAttacks = half(profile.certainAttacks);
  profile.several = half(profile.several);
}

const counted = [
  'calls',
  'values',
  'negatives',
  'zeros',
  'encoded',
  'doubleEncoded',
  'control',
  'lineBreaks',
  'attacks',
  'certainAttacks',
  'several',
] as const;

export function encodeParameter(profile: ParameterProfile, writer: ByteWriter): void {
  for (const count of counted) writer.uint(profile[count]);
  for (const kind of kinds) writer.uint(profile.kinds[kind] ?? 0);
  encodeVariety(profile.variety, writer, (hash) => writer.hash32(hash));
  encodeVariety(profile.forms, writer, (form) => writer.text(form));
  encodeMagnitude(profile.numbers, writer);
  encodeMagnitude(profile.dates, writer);
  encodeMagnitude(profile.lengths, writer);
  writer.uints(profile.most);
}

export function decodeParameter(reader: ByteReader): ParameterProfile {
  const profile = newParameterProfile();
  for (const count of counted) profile[count] = reader.uint();
  for (const kind of kinds) {
    const count = reader.uint();
    if (count > 0) profile.kinds[kind] = count;
  }
  profile.variety = decodeVariety(reader, () => reader.hash32());
  profile.forms = decodeVariety(reader, () => reader.text());
  profile.numbers = decodeMagnitude(reader);
  profile.dates = decodeMagnitude(reader);
  profile.lengths = decodeMagnitude(reader);
  profile.most = reader.uints();
  return profile;
}
