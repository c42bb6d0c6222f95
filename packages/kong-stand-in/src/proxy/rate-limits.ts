import type { Entity } from '../store.ts';
import type { Values } from '../schema.ts';
import type { Context } from './context.ts';
import type { ErrorExit, Exit } from './exit.ts';

const periods = ['second', 'minute', 'hour', 'day', 'month', 'year'] as const;
const windowMs = { second: 1_000, minute: 60_000, hour: 3_600_000, day: 86_400_000 };

/** Kong's rate-limiting: counts requests per limit, identifier and window of the calendar. */
export class RateLimits {
  readonly #usage = new Map<string, { count: number; endsAt: number }>();

  /** Counts the request and adds the headers that tell the client what is left, or refuses it. */
  check(plugin: Entity, context: Context, error: ErrorExit): Exit {
    const config = plugin['config'] as Values;
    const { clientIp } = context.request;
    const identifiers: Record<string, string | undefined> = {
      consumer: context.consumer?.id,
      credential: context.credential?.id,
      service: context.service?.id,
      path: context.path === config['path'] ? context.path : undefined,
    };
    const identifier = identifiers[String(config['limit_by'])] ?? clientIp;
    const scope = [plugin['route'], plugin['service']].map((key) => (key as { id: string } | null)?.id ?? '');

    // The window that is nearest to its end decides what the general headers say.
    const now = context.startedAt;
    const windows = periods.flatMap((period) => {
      const limit = config[period];
      if (typeof limit !== 'number') return [];
      const [start, endsAt] = windowAt(period, now);
      const key = [...scope, identifier, period, start].join(':');
      const used = this.#usage.get(key)?.count ?? 0;
      const resetS = Math.max(1, Math.ceil((endsAt - now) / 1000));
      return [{ period, limit, key, endsAt, left: limit - used, resetS }];
    });
    const exhausted = windows.find((window) => window.left <= 0);
    const shown = windows.map((window) => ({
      ...window,
      left: Math.max(0, window.left - (!exhausted || exhausted === window ? 1 : 0)),
    }));
    if (!exhausted) for (const { key, endsAt } of windows) this.#count(key, endsAt, now);
    const tightest = shown.reduce((a, b) => (b.left < a.left ? b : a));
    const headers: Record<string, string> = {};
    if (!config['hide_client_headers']) {
      for (const { period, limit, left } of shown) {
        headers[`x-ratelimit-limit-${period}`] = String(limit);
        headers[`x-ratelimit-remaining-${period}`] = String(left);
      }
      headers['ratelimit-limit'] = String(tightest.limit);
      headers['ratelimit-remaining'] = String(tightest.left);
      headers['ratelimit-reset'] = String(tightest.resetS);
    }
    if (!exhausted) return void Object.assign(context.added, headers);
    if (!config['hide_client_headers']) headers['retry-after'] = String(tightest.resetS);
    return error(Number(config['error_code']), String(config['error_message']), headers);
  }

  #count(key: string, endsAt: number, now: number): void {
    this.#usage.set(key, { count: (this.#usage.get(key)?.count ?? 0) + 1, endsAt });
    if (this.#usage.size < 10_000) return;
    for (const [old, window] of this.#usage) if (window.endsAt < now) this.#usage.delete(old);
  }
}

/** Begin and end of the window, ms; months and years of the calendar, in UTC. */
function windowAt(period: (typeof periods)[number], now: number): [number, number] {
  const date = new Date(now);
  const [year, month] = [date.getUTCFullYear(), date.getUTCMonth()];
  if (period === 'year') return [Date.UTC(year, 0), Date.UTC(year + 1, 0)];
  if (period === 'month') return [Date.UTC(year, month), Date.UTC(year, month + 1)];
  const start = now - (now % windowMs[period]);
  return [start, start + windowMs[period]];
}
