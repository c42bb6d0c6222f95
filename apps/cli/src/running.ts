import type { ServiceActors } from '@tripline/app-collector';
import type { ChannelStatus } from '@tripline/app-responder';
import { UserError, type LoadedConfig } from '@tripline/runtime';

/** What `GET /status` of a running Tripline says, as far as its roles can tell. */
export interface Status {
  now: number;
  dataDir: string;
  collector?: CollectorStatus;
  policies?: { count: number; problems: { line: number; path: string; message: string }[] };
  /** How deliveries stand, where a responder runs. */
  webhooks?: ChannelStatus[];
  lag: { topic: string; group: string; records: number; lost?: number }[];
}

export interface CollectorStatus {
  port: number;
  tlsPort: number | null;
  httpPort: number | null;
  accounting: {
    received: number;
    restored: number;
    spooled: number;
    returned: number;
    published: number;
    inFlight: number;
    rejected: Record<string, number>;
    streamSessions: number;
    dropped: Record<string, number>;
  };
  observations: {
    lastLineAt?: number;
    clockOffsetMs?: number;
    clients: {
      lines: number;
      distinct: number;
      top?: string;
      topShare: number;
      privateShare: number;
      topPlace?: string;
      topPlaceShare: number;
      topPlaceActors: number;
    };
    senders: { address: string; lines: number }[];
    services: ServiceActors[];
  };
}

/** Where the Tripline of this configuration answers. */
export function runningUrl(loaded: LoadedConfig): string {
  const { host, port } = loaded.config.http;
  if (host === '0.0.0.0' || host === '::') return `http://127.0.0.1:${port}`;
  return `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/**
 * Asks the running Tripline. Undefined if none runs there. Rejects with its message if it refuses.
 */
export async function askRunning<Answer>(
  loaded: LoadedConfig,
  method: 'GET' | 'POST',
  path: string,
): Promise<Answer | undefined> {
  const url = `${runningUrl(loaded)}${path}`;
  let response;
  try {
    response = await fetch(url, {
      method,
      headers: { 'x-tripline': '1' },
      signal: AbortSignal.timeout(30_000),
    });
  } catch (error) {
    if ((error as Error).name === 'TimeoutError') throw new UserError(`${url} did not answer within 30 s.`);
    return undefined;
  }
  const body = (await response.json()) as Answer & { message?: string };
  if (!response.ok) throw new UserError(body.message ?? `${url} answered ${response.status}.`);
  return body;
}
