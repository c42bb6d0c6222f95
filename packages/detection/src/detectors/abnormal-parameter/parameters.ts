import { flattenParameters } from './flatten.ts';
import type { ByteReader } from '../../codec/byte-reader.ts';
import type { ByteWriter } from '../../codec/byte-writer.ts';
import { SINGLE_IS_STRAY } from './counts.ts';
import { judgeParameter } from './judge-parameter.ts';
import {
  decodeParameter,
  encodeParameter,
  halveParameter,
  learnParameter,
  newParameterProfile,
  type ParameterProfile,
} from './profile.ts';
import { rarity, total, type Surprise } from './surprise.ts';
import { seeValue, type SeenValue } from './value.ts';

/** Parameters remembered per endpoint; further names are counted as new ones and not profiled. */
const PARAMETERS_KEPT = 64;
/** Calls after which all counts are halved. */
const CALLS_MOST = 20_000;
/** Decades of surprise at which a call is worth an alert: one in 100 calls or less would surprise as much. */
export const ALERT_DECADES = 2;
const REASONS_MOST = 5;
/** Weight of the surprises about other parameters of the same call, and their most. */
const OTHERS_WEIGHT = 0.3;
const OTHERS_MOST = 1;
/** The most that empty and missing values and the trackers of campaigns are worth together, where nothing else is unusual. */
const MILD_MOST = 1.5;

/** What is known of the parameters of one endpoint. Bounded: 64 parameters of at most about 2 KB. */
export interface EndpointProfile {
  calls: number;
  parameters: Map<string, ParameterProfile>;
  /** Names that were new when the endpoint was already known, and for which there was no room. */
  beyond: number;
}

/** One call judged under a profile. */
export interface ParameterFinding {
  /** 0 to 1: 1 - 2^(-decades / 2). Half is two decades of surprise, the threshold. */
  score: number;
  decades: number;
  alert: boolean;
  /** In plain words, the largest surprise first, at most 5; values are described, never repeated. */
  reasons: string[];
  surprises: Surprise[];
}

/** Of a surprise, to four decimals. */
export function scoreOf(decades: number): number {
  return Math.round((1 - 2 ** (-decades / ALERT_DECADES)) * 10_000) / 10_000;
}

export function newEndpointProfile(): EndpointProfile {
  return { calls: 0, parameters: new Map(), beyond: 0 };
}

/** One call's parameters as the detector sees them: by flat name, the first values and how many there were. */
export interface SeenParameters {
  values: Map<string, { seen: SeenValue[]; count: number }>;
  beyond: number;
}

/** Values may be scalars, arrays and nested objects. */
export function seeParameters(parameters: Readonly<Record<string, unknown>>): SeenParameters {
  const flat = flattenParameters(parameters);
  const values: SeenParameters['values'] = new Map();
  for (const [name, { values: given, count }] of flat.values)
    values.set(name, { seen: given.map(seeValue), count });
  return { values, beyond: flat.beyond };
}

/** Learns one call's parameters. */
export function learnParameters(profile: EndpointProfile, parameters: SeenParameters): void {
  profile.calls++;
  for (const [name, { seen, count }] of parameters.values) {
    let known = profile.parameters.get(name);
    if (!known) {
      if (profile.parameters.size >= PARAMETERS_KEPT && !makeRoom(profile)) {
        profile.beyond++;
        continue;
      }
      known = newParameterProfile();
      profile.parameters.set(name, known);
    }
    learnParameter(known, seen, count);
  }
  if (profile.calls >= CALLS_MOST) {
    profile.calls >>= 1;
    profile.beyond >>= 1;
    for (const [name, known] of profile.parameters) {
      halveParameter(known);
      if (known.calls === 0) profile.parameters.delete(name);
    }
  }
}

/** A name that came once makes room for the next. */
function makeRoom(profile: EndpointProfile): boolean {
  for (const [name, known] of profile.parameters) {
    if (known.calls > 1) continue;
    profile.parameters.delete(name);
    profile.beyond++;
    return true;
  }
  return false;
}

/** Judges one call's parameters under what was learnt, and learns nothing. Without anything learnt nothing is surprising. */
export function judgeParameters(profile: EndpointProfile, parameters: SeenParameters): ParameterFinding {
  const perParameter: { decades: number; surprises: Surprise[] }[] = [];
  const add = (surprises: Surprise[]): void => {
    if (surprises.length > 0) perParameter.push({ decades: total(surprises), surprises });
  };
  if (profile.calls > 0) {
    for (const [name, { seen, count }] of parameters.values) {
      const known = profile.parameters.get(name);
      const shownName = printable(name);
      const stray = known !== undefined && known.calls === 1 && profile.calls >= SINGLE_IS_STRAY;
      if (!known || stray) add(newNameSurprise(profile, name, shownName, seen));
      // Whoever makes a campaign makes up its names: only what looks like an attack counts there.
      const judged = known ? judgeParameter(known, shownName, seen, count) : [];
      if (judged.length === 0) continue;
      if (!trackers.test(name) || judged.some(({ supports }) => supports === true)) add(judged);
    }
    if (parameters.beyond > 0) {
      add([
        {
          decades: rarity(0, profile.calls, 0.25),
          reason: `there are ${parameters.beyond} more parameters or levels of nesting than are looked at`,
          news: undefined,
        },
      ]);
    }
    add(missingSurprises(profile, parameters.values));
  }
  perParameter.sort((a, b) => b.decades - a.decades);
  let decades = perParameter[0]?.decades ?? 0;
  let others = 0;
  for (const one of perParameter.slice(1)) others += one.decades;
  decades += Math.min(OTHERS_MOST, OTHERS_WEIGHT * others);
  const surprises = perParameter.flatMap((one) => one.surprises).sort((a, b) => b.decades - a.decades);
  if (surprises.every(({ mild }) => mild === true)) decades = Math.min(MILD_MOST, decades);
  return {
    score: scoreOf(decades),
    decades,
    alert: decades >= ALERT_DECADES,
    reasons: [...new Set(surprises.filter((one) => one.decades >= 0.5).map((one) => one.reason))].slice(
      0,
      REASONS_MOST,
    ),
    surprises,
  };
}

/** What browsers, mail programs and ad networks hang on to any URL; a new one says nothing about the caller. */
const trackers =
  /^(utm_\w+|[a-z]{1,4}clid|[gw]braid|li_fat_id|mc_[ce]id|_ga|_gl|_hs\w+|hsctatracking|mkt_tok|igshid|ref|_|cb|cachebuster|nocache)$/;
/** Names with which a client would give itself what only the server may decide. Supporting evidence for a new name. */
const privileges =
  /(^|[._[-])(is_?)?(admin|root|superuser|staff|role|roles|permission|permissions|privilege|privileges|scope|scopes|debug|test|internal|verified|approved|owner|owner_?id|user_?id|tenant_?id|account_?id|balance|credit|discount|paid|password|is_?active|__proto__|constructor|prototype)($|[._\]-])|^\$|[.[]\$/;

/** What a parameter's name begins with that is a header: another client sends other ones, so that only their values say much. */
export const HEADER_PREFIX = 'header:';

function newNameSurprise(
  profile: EndpointProfile,
  name: string,
  shownName: string,
  values: readonly SeenValue[],
): Surprise[] {
  let once = profile.beyond;
  for (const known of profile.parameters.values()) if (known.calls === 1) once++;
  const attack = values.find((value) => value.attack)?.attack;
  const bad = values.some((value) => value.control || value.headerBreak);
  const usual = rarity(once, profile.calls, 0.25);
  const isHeader = name.startsWith(HEADER_PREFIX) && !privileges.test(name);
  if ((isHeader || trackers.test(name)) && !attack && !bad) {
    return [
      {
        decades: Math.min(0.8, usual),
        reason: `parameter "${shownName}" is new here`,
        news: undefined,
        mild: true,
      },
    ];
  }
  const surprises: Surprise[] = [
    {
      decades: usual,
      reason: `parameter "${shownName}" was never seen in ${profile.calls} calls of this endpoint`,
      news: attack || bad ? undefined : `name ${name}`,
    },
  ];
  if (attack) {
    surprises.push({
      decades: 1.5,
      reason: `"${shownName}" looks like ${attack.name}`,
      news: undefined,
      supports: true,
      weakness: attack.weakness,
    });
  }
  if (privileges.test(name)) {
    surprises[0]!.news = undefined;
    surprises.push({
      decades: 1,
      reason: `"${shownName}" is a name that decides about rights, money or debugging`,
      news: undefined,
      supports: true,
      weakness: 'CWE-915',
    });
  }
  return surprises;
}

/** A parameter that is always there is not: supporting evidence, never an alert by itself. */
function missingSurprises(profile: EndpointProfile, present: ReadonlyMap<string, unknown>): Surprise[] {
  const surprises: Surprise[] = [];
  for (const [name, known] of profile.parameters) {
    if (known.calls < 0.9 * profile.calls || present.has(name)) continue;
    const decades = Math.min(1.2, rarity(profile.calls - known.calls, profile.calls, 0.5));
    surprises.push({
      decades,
      reason: `parameter "${printable(name)}" is missing; it is there in ${known.calls} of ${profile.calls} calls`,
      news: undefined,
      mild: true,
    });
  }
  return surprises.sort((a, b) => b.decades - a.decades).slice(0, 2);
}

/** Names come from callers: short, and without what could disturb a terminal or a log. */
function printable(name: string): string {
  const clean = name.replace(/[^\p{L}\p{N}_.[\]{}$@:-]/gu, '?');
  return clean.length > 60 ? `${clean.slice(0, 60)}…` : clean;
}

/** Values are kept as hashes only. */
export function encodeEndpointProfile(profile: EndpointProfile, writer: ByteWriter): void {
  writer.uint(profile.calls);
  writer.uint(profile.beyond);
  writer.uint(profile.parameters.size);
  for (const [name, known] of profile.parameters) {
    writer.text(name);
    encodeParameter(known, writer);
  }
}

export function decodeEndpointProfile(reader: ByteReader): EndpointProfile {
  const profile = newEndpointProfile();
  profile.calls = reader.uint();
  profile.beyond = reader.uint();
  for (let left = reader.count(40); left > 0; left--)
    profile.parameters.set(reader.text(), decodeParameter(reader));
  return profile;
}
