import type { RiskFilter } from '@tripline/lake';

const dayMs = 86_400_000;
const actorKinds = ['consumer', 'credential', 'address'] as const;
const limitMost = 10_000;

/**
 * What `GET /sessions` and `GET /calls` are asked for: `since` and `until` (ms since the epoch; the last 24 hours if left
 * out), `actor` (`consumer:ID`), `risk` (least, 0 to 100), `limit` (100 if left out). Throws a `RangeError` that names the
 * parameter, what was given and what is allowed.
 */
export function riskFilterOf(parameters: URLSearchParams, nowMs: number): RiskFilter {
  checkNames(parameters, ['since', 'until', 'actor', 'risk', 'limit']);
  const untilMs = timeOf(parameters, 'until') ?? nowMs;
  const fromMs = timeOf(parameters, 'since') ?? untilMs - dayMs;
  if (fromMs >= untilMs) {
    const until = parameters.has('until') ? untilMs : `${untilMs}, which is now`;
    throw new RangeError(`since is ${fromMs}: allowed are times before until (${until}).`);
  }
  const filter = {
    fromMs,
    untilMs,
    riskAtLeast: numberOf(parameters, 'risk', 'numbers from 0 to 100', (risk) => risk <= 100) ?? 0,
    limit:
      numberOf(
        parameters,
        'limit',
        `whole numbers from 1 to ${limitMost}`,
        (limit) => Number.isInteger(limit) && limit >= 1 && limit <= limitMost,
      ) ?? 100,
  };
  const actor = parameters.get('actor');
  if (actor === null) return filter;
  const kind = actorKinds.find((one) => actor.startsWith(`${one}:`) && actor.length > one.length + 1);
  if (kind === undefined)
    throw new RangeError(`actor is '${actor}': allowed are consumer:ID, credential:TOKEN and address:IP.`);
  return { ...filter, actor: { kind, id: actor.slice(kind.length + 1) } };
}

/** From when on `GET /alerts` is asked for alerts: `since` (ms since the epoch), 0 if left out. Throws as `riskFilterOf`. */
export function alertsSinceOf(parameters: URLSearchParams): number {
  checkNames(parameters, ['since']);
  return timeOf(parameters, 'since') ?? 0;
}

/** The `id` that `POST /responses/lift` is about. Throws as `riskFilterOf`. */
export function responseIdOf(parameters: URLSearchParams): string {
  checkNames(parameters, ['id']);
  const id = parameters.get('id') ?? '';
  if (id === '') throw new RangeError('id is missing: GET /responses lists the ids.');
  return id;
}

/** A misspelt parameter would be no filter at all, and the answer look as if it were one. */
function checkNames(parameters: URLSearchParams, allowed: readonly string[]): void {
  for (const name of parameters.keys()) {
    if (!allowed.includes(name))
      throw new RangeError(`there is no parameter '${name}': allowed are ${allowed.join(', ')}.`);
  }
}

function timeOf(parameters: URLSearchParams, name: string): number | undefined {
  return numberOf(parameters, name, 'whole numbers, ms since the epoch', Number.isSafeInteger);
}

function numberOf(
  parameters: URLSearchParams,
  name: string,
  allowed: string,
  isAllowed: (value: number) => boolean,
): number | undefined {
  const text = parameters.get(name);
  if (text === null) return undefined;
  if (!/^[0-9]+(\.[0-9]+)?$/.test(text) || !isAllowed(Number(text)))
    throw new RangeError(`${name} is '${text}': allowed are ${allowed}.`);
  return Number(text);
}
