import type { RiskFilter } from '@tripline/lake';

const dayMs = 86_400_000;
const actorKinds = ['consumer', 'credential', 'address'] as const;

/**
 * What `GET /sessions` and `GET /calls` are asked for: `since` and `until` (ms since the epoch; the last 24 hours if left
 * out), `actor` (`consumer:ID`), `risk` (least, 0 to 100), `limit` (100 if left out). Throws a `RangeError` for what cannot
 * be read; whether the values make sense is for the lake to say.
 */
export function riskFilterOf(parameters: URLSearchParams, nowMs: number): RiskFilter {
  const numberOf = (name: string, otherwise: number): number => {
    const text = parameters.get(name);
    if (text === null) return otherwise;
    if (!/^[0-9]{1,15}$/.test(text)) throw new RangeError(`${name} is '${text}': allowed are whole numbers.`);
    return Number(text);
  };
  const untilMs = numberOf('until', nowMs);
  const fromMs = numberOf('since', untilMs - dayMs);
  const filter = { fromMs, untilMs, riskAtLeast: numberOf('risk', 0), limit: numberOf('limit', 100) };
  const actor = parameters.get('actor');
  if (actor === null) return filter;
  const kind = actorKinds.find((one) => actor.startsWith(`${one}:`));
  if (kind === undefined)
    throw new RangeError(`actor is '${actor}': allowed are consumer:ID, credential:TOKEN and address:IP.`);
  return { ...filter, actor: { kind, id: actor.slice(kind.length + 1) } };
}
