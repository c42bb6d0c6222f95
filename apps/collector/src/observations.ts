import type { ApiCall } from '@tripline/model';

/** What `doctor` wants to know about the lines, beyond their number. */
export interface Observations {
  /** Wall clock of the newest line; undefined before the first. */
  lastLineAt: number | undefined;
  /** Smallest seen difference of this clock and the end of a request by Kong's, in ms, over the last lines. */
  clockOffsetMs: number | undefined;
  /** Client addresses of the last lines. */
  clients: {
    lines: number;
    distinct: number;
    top: string | undefined;
    topShare: number;
    privateShare: number;
  };
  /** Addresses that send lines, with their number. */
  senders: { address: string; lines: number }[];
}

const windowLines = 2_000;

/** Remembers the last lines' addresses and times, in bounded memory. */
export class Observer {
  readonly #ips: (string | undefined)[] = [];
  readonly #offsets: number[] = [];
  #next = 0;
  #lastLineAt: number | undefined;
  readonly #senders = new Map<string, number>();

  saw(call: ApiCall, nowMs: number): void {
    this.#lastLineAt = nowMs;
    this.#ips[this.#next] = call.ip;
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
    for (const ip of this.#ips) {
      if (ip === undefined) continue;
      lines++;
      if (isPrivate(ip)) inPrivate++;
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
      },
      senders: [...this.#senders]
        .map(([address, count]) => ({ address, lines: count }))
        .sort((a, b) => b.lines - a.lines)
        .slice(0, 20),
    };
  }
}

/** Loopback, private (RFC 1918, RFC 4193), link-local and carrier-grade (RFC 6598) addresses. */
function isPrivate(ip: string): boolean {
  return /^(127\.|10\.|192\.168\.|172\.(1[6-9]|2[0-9]|3[01])\.|169\.254\.|100\.(6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7])\.|::1$|f[cd]|fe80:)/i.test(
    ip,
  );
}
