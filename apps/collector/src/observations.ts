import { isPrivateAddress, type ApiCall } from '@tripline/model';
import { ServiceActorCounts, type ServiceActors } from './service-actors.ts';

/** Facts about the lines that `doctor` checks, beside their number. */
export interface Observations {
  /** Wall clock of the newest line; undefined before the first. */
  lastLineAt: number | undefined;
  /** Smallest difference of this clock to the end of a request by Kong's clock, in ms, over the last lines. */
  clockOffsetMs: number | undefined;
  /** Client addresses of the last lines. */
  clients: {
    lines: number;
    distinct: number;
    top: string | undefined;
    topShare: number;
    privateShare: number;
    /** Among lines with a known place: the most frequent place in words, its share, and how many actors are there. */
    topPlace: string | undefined;
    topPlaceShare: number;
    topPlaceActors: number;
  };
  /** Addresses that send lines, with the number of lines. */
  senders: { address: string; lines: number }[];
  /** Calls of each service by kind of actor. */
  services: ServiceActors[];
}

const windowLines = 2_000;

/** The place of a line. */
type Seen = {
  /** '' if the place is unknown. */
  actorId: string;
} & {
  [Field in 'ip' | 'asn' | 'country' | 'city' | 'latitude' | 'longitude']: ApiCall[Field] | undefined;
};

/** Keeps the addresses and times of the last 2,000 lines, and counts of at most 1,000 senders. */
export class Observer {
  readonly #seen: Seen[] = [];
  readonly #offsets: number[] = [];
  readonly #services = new ServiceActorCounts();
  #next = 0;
  #lastLineAt: number | undefined;
  readonly #senders = new Map<string, number>();

  saw(call: ApiCall, nowMs: number): void {
    this.#lastLineAt = nowMs;
    this.#services.saw(call);
    const { ip, asn, country, city, latitude, longitude } = call;
    // A copy, made only where it is used: a substring of a line would keep the whole chunk of the socket in memory.
    const actorId = isLocated(call) ? Buffer.from(call.actorId).toString() : '';
    this.#seen[this.#next] = { ip, actorId, asn, country, city, latitude, longitude };
    this.#offsets[this.#next] = nowMs - (call.startedAt + call.latencyMs);
    this.#next = (this.#next + 1) % windowLines;
  }

  sent(address: string, lines: number): void {
    if (this.#senders.size >= 1_000 && !this.#senders.has(address)) return;
    this.#senders.set(address, (this.#senders.get(address) ?? 0) + lines);
  }

  report(): Observations {
    const counts = new Map<string, number>();
    let lines = 0;
    let inPrivate = 0;
    for (const { ip } of this.#seen) {
      if (ip === undefined) continue;
      lines++;
      if (isPrivateAddress(ip)) inPrivate++;
      counts.set(ip, (counts.get(ip) ?? 0) + 1);
    }
    const [top, topCount] = [...counts].sort((a, b) => b[1] - a[1])[0] ?? [undefined, 0];
    return {
      lastLineAt: this.#lastLineAt,
      clockOffsetMs: this.#offsets.length > 0 ? Math.min(...this.#offsets) : undefined,
      clients: {
        lines,
        distinct: counts.size,
        top,
        topShare: lines > 0 ? topCount / lines : 0,
        privateShare: lines > 0 ? inPrivate / lines : 0,
        ...this.#topPlace(),
      },
      senders: [...this.#senders]
        .map(([address, count]) => ({ address, lines: count }))
        .sort((a, b) => b.lines - a.lines)
        .slice(0, 20),
      services: this.#services.report(),
    };
  }

  #topPlace(): Pick<Observations['clients'], 'topPlace' | 'topPlaceShare' | 'topPlaceActors'> {
    const places = new Map<string, { seen: Seen; lines: number; actors: Set<string> }>();
    let located = 0;
    for (const seen of this.#seen) {
      const { actorId, asn, country, latitude, longitude } = seen;
      if (!isLocated(seen)) continue;
      located++;
      const key = [asn, country, latitude, longitude].join();
      const place = places.get(key) ?? { seen, lines: 0, actors: new Set() };
      place.lines++;
      place.actors.add(actorId);
      places.set(key, place);
    }
    const [top] = [...places.values()].sort((a, b) => b.lines - a.lines);
    return {
      topPlace: top && wordsOf(top.seen),
      topPlaceShare: top ? top.lines / located : 0,
      topPlaceActors: top?.actors.size ?? 0,
    };
  }
}

function isLocated({ asn, country }: Pick<ApiCall, 'asn' | 'country'> | Seen): boolean {
  return asn !== undefined || country !== undefined;
}

function wordsOf({ asn, country, city }: Seen): string {
  const where = [city, country].filter((part) => part !== undefined).join(', ') || 'an unknown country';
  return asn === undefined ? where : `${where} (AS${asn})`;
}
