import type { Collector } from '@tripline/app-collector';
import {
  StandbyError,
  UnknownResponseError,
  type PolicyFile,
  type RunningResponder,
} from '@tripline/app-responder';
import type { Bus } from '@tripline/bus';
import type { Lake } from '@tripline/lake';
import type { HttpAction } from '@tripline/runtime';
import { alertsSinceOf, responseIdOf, riskFilterOf } from '../query.ts';

/** The requests of the command line that the roles of this process can answer. */
export function actions(parts: {
  collector: Collector | undefined;
  responder: RunningResponder | undefined;
  policies: PolicyFile | undefined;
  bus: Bus;
  dataDir: string;
  lake: () => Promise<Lake>;
  now: () => number;
}): Record<string, HttpAction> {
  const { collector, responder, policies, bus } = parts;
  const found: Record<string, HttpAction> = {
    'GET /status': async () => ({
      status: 200,
      body: {
        now: parts.now(),
        dataDir: parts.dataDir,
        ...(collector ? { collector: collectorStatus(collector) } : {}),
        ...(policies
          ? { policies: { count: policies.current().policies.length, problems: policies.problems() } }
          : {}),
        ...(responder ? { webhooks: responder.channels() } : {}),
        lag: await bus.lag(),
      },
    }),
    'GET /alerts': (url) =>
      answer(async () => {
        const sinceMs = alertsSinceOf(url.searchParams);
        return (await parts.lake()).alertsSince(sinceMs);
      }),
    'GET /sessions': (url) =>
      answer(async () => {
        const filter = riskFilterOf(url.searchParams, parts.now());
        return (await parts.lake()).sessions(filter);
      }),
    'GET /calls': (url) =>
      answer(async () => {
        const filter = riskFilterOf(url.searchParams, parts.now());
        return (await parts.lake()).ratedCalls(filter);
      }),
  };
  if (!responder) return found;
  return {
    ...found,
    'GET /responses': () => answer(() => responder.responses()),
    'POST /responses/lift': (url) => answer(() => responder.lift(responseIdOf(url.searchParams))),
  };
}

async function answer(work: () => unknown): Promise<{ status: number; body: unknown }> {
  try {
    return { status: 200, body: await work() };
  } catch (error) {
    const status = statusOf(error);
    if (status === undefined) throw error;
    return { status, body: { message: (error as Error).message } };
  }
}

function statusOf(error: unknown): number | undefined {
  if (error instanceof RangeError) return 400;
  if (error instanceof UnknownResponseError) return 404;
  return error instanceof StandbyError ? 503 : undefined;
}

function collectorStatus(collector: Collector): unknown {
  const { rejected, dropped, ...counts } = collector.accounting();
  return {
    port: collector.port,
    tlsPort: collector.tlsPort ?? null,
    httpPort: collector.httpPort ?? null,
    accounting: { ...counts, rejected: Object.fromEntries(rejected), dropped: Object.fromEntries(dropped) },
    observations: collector.observations(),
  };
}
