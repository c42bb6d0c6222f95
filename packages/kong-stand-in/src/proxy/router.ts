import type { Entity } from '../store.ts';
import type { Headers } from './request.ts';

export interface MatchedRoute {
  entity: Entity;
  /** Length of the path prefix that matched. */
  prefix: number;
  path: string;
}

/** Kong's traditional router: more kinds of conditions first, then regular expressions, then the longer prefix. */
export function matchRoute(
  routes: Entity[],
  method: string,
  rawPath: string,
  headers: Headers,
): MatchedRoute | undefined {
  let path: string;
  try {
    path = decodeURIComponent(rawPath);
  } catch {
    // Not UTF-8: Kong 3.9 finds no route.
    return undefined;
  }
  let best: (MatchedRoute & { rank: number[] }) | undefined;
  for (const entity of routes) {
    const methods = entity['methods'] as string[] | null;
    const hosts = entity['hosts'] as string[] | null;
    const wanted = entity['headers'] as Record<string, string[]> | null;
    const host = String(headers['host'] ?? '').replace(/:\d+$/, '');
    if (methods && !methods.includes(method)) continue;
    if (hosts && !hosts.includes(host)) continue;
    if (wanted && !Object.entries(wanted).every(([name, values]) => values.includes(String(headers[name]))))
      continue;
    const conditions = [methods, hosts, wanted, entity['paths']].filter((one) => one !== null).length;
    for (const pattern of (entity['paths'] as string[] | null) ?? ['/']) {
      const isRegex = pattern.startsWith('~');
      const regex = isRegex ? new RegExp(`^${pattern.slice(1)}`).exec(path) : null;
      if (isRegex ? !regex : !path.startsWith(pattern)) continue;
      const prefix = regex ? regex[0].length : pattern.length;
      const rank = [
        conditions,
        isRegex ? 1 : 0,
        isRegex ? Number(entity['regex_priority']) : 0,
        pattern.length,
      ];
      if (!best || isHigher(rank, best.rank)) best = { entity, prefix, path: rawPath, rank };
    }
  }
  return best;
}

/** The path that the service gets, without the query. */
export function upstreamTarget(matched: MatchedRoute, service: Entity | undefined): string {
  const rest = matched.entity['strip_path'] ? matched.path.slice(matched.prefix) : matched.path;
  const base = ((service?.['path'] as string | null | undefined) ?? '').replace(/\/$/, '');
  return base + (rest.startsWith('/') ? rest : `/${rest}`);
}

function isHigher(a: number[], b: number[]): boolean {
  const index = a.findIndex((value, at) => value !== b[at]);
  return index >= 0 && a[index]! > b[index]!;
}
