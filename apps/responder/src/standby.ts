import type { KongAdmin } from '@tripline/kong';
import { Gauge, Registry, StoppedError, type Metric, type RoleContext } from '@tripline/runtime';
import { FencedError, type StateStore } from '@tripline/state';
import { createPause, sleepForReal, type Sleep } from './pause.ts';
import type { RunningResponder } from './responder.ts';

export interface StandbyOptions extends RoleContext {
  /** The responder's own; holds the lease too. */
  state: StateStore;
  /** Undefined: no Kong is configured. */
  admin: KongAdmin | undefined;
  /** Names this process to the others and to people: unique, such as `host:port pid`. */
  holder: string;
  /**
   * Starts the responder that acts, with an Admin API client that refuses to write without the lease, and a registry for
   * its metrics, which end with it.
   */
  start: (admin: KongAdmin | undefined, metrics: Registry) => RunningResponder;
  /** How long the lease lasts without being renewed, ms; it is renewed in thirds of that. Default 6,000. */
  leaseMs?: number;
  /** How to wait; default: timers. */
  sleep?: Sleep;
}

/** Thrown where only the responder that acts can answer. */
export class StandbyError extends Error {
  override name = 'StandbyError';
}

const leaseName = 'responder';

/**
 * One of several responders acts, the others stand by: whoever holds the lease runs the responder, and stops it when the
 * lease cannot be renewed in time. A standby takes over when the lease has run out, which is at most `leaseMs` and a third
 * after the last sign of life.
 *
 * What a stalled holder may still do when it wakes up: nothing to its state, since its successor has claimed that, and
 * nothing to Kong, since its client looks at the clock before each write. A write that had left before is harmless: it
 * carries the uuid that the successor gives the same plugin, and the successor compares Kong in full when it begins.
 *
 * Without the state store nobody acts: what is in force in Kong stays until the store is back.
 */
export function startStandby(options: StandbyOptions): RunningResponder {
  const { state, holder, logger, now, metrics } = options;
  const leaseMs = options.leaseMs ?? 6_000;
  const stopping = new AbortController();
  const pause = createPause(options.sleep ?? sleepForReal, stopping.signal);
  /** Until when the lease surely is ours, by this process's clock. */
  let heldUntil = -Infinity;
  let acting: RunningResponder | undefined;
  /** The one that acted and has ended by itself, with the reason: it is cleared away before anything else. */
  let over: { responder: RunningResponder; why: string } | undefined;
  let lent = new LentRegistry(metrics);
  let leader = '';
  let problem: string | null = null;
  let failure: Error | undefined;
  new Gauge({
    name: 'tripline_responder_leader',
    help: '1 while this responder is the one that acts.',
    registers: [metrics],
    collect() {
      this.set(acting ? 1 : 0);
    },
  });

  const admin = options.admin && guarded(options.admin, () => now() < heldUntil);

  const begin = (): void => {
    logger.info({ holder }, 'this responder acts from now on');
    lent = new LentRegistry(metrics);
    const started = options.start(admin, lent);
    acting = started;
    const end = (why: string): void => {
      over = { responder: started, why };
      pause.kick();
    };
    started.ended.then(
      () => end('it ended'),
      (error: unknown) => {
        if (!(error instanceof FencedError)) failure = error as Error;
        // Nothing is written to Kong until the next round shows which process has the lease: this one, or one that claimed the state.
        heldUntil = -Infinity;
        end('another responder has claimed its state');
      },
    );
  };

  const stepDown = async (why: string): Promise<void> => {
    const ending = acting;
    if (!ending) return;
    logger.warn({ holder, leader }, `this responder stands by from now on: ${why}`);
    acting = undefined;
    await ending.stop();
    lent.giveBack();
  };

  const round = async (): Promise<void> => {
    if (over && over.responder === acting) await stepDown(over.why);
    // From before the question on: the answer may have taken its time.
    const askedAt = now();
    try {
      const lease = await state.lease(leaseName, holder, leaseMs);
      if (problem !== null) logger.info('the lease of the responder can be had again');
      problem = null;
      leader = lease.holder;
      if (lease.held) heldUntil = askedAt + leaseMs;
      else if (acting) await stepDown(`${lease.holder} has the lease`);
    } catch (error) {
      if (problem === null) logger.error({ err: error as Error }, 'the lease of the responder cannot be had');
      problem = `the lease cannot be had: ${(error as Error).message}`;
    }
    if (acting && now() >= heldUntil) await stepDown(problem ?? 'the lease ran out');
    else if (!acting && now() < heldUntil) begin();
  };

  const ended = (async () => {
    while (!stopping.signal.aborted) {
      await round();
      if (failure) break;
      await pause.wait(leaseMs / 3);
    }
    await acting?.stop();
    // The next one need not wait for the lease to run out. If this fails, it waits.
    if (now() < heldUntil) await state.release(leaseName, holder).catch(() => undefined);
    if (failure && !(failure instanceof StoppedError)) throw failure;
  })();
  ended.catch(() => undefined);

  const standby = (): StandbyError =>
    new StandbyError(
      leader === ''
        ? 'This responder does not act, nor is it known who does: the state store does not answer.'
        : `This responder stands by. Ask the one that acts: ${leader}.`,
    );
  return {
    name: 'responder',
    health() {
      if (acting) return acting.health();
      if (problem !== null) return { alive: true, ready: false, detail: problem };
      return {
        alive: true,
        ready: leader !== '',
        detail: leader === '' ? 'asking for the lease' : `stands by; ${leader} acts`,
      };
    },
    ended,
    async stop() {
      stopping.abort();
      await ended.catch(() => undefined);
    },
    lift: (responseId) => (acting ? acting.lift(responseId) : Promise.reject(standby())),
    responses() {
      if (!acting) throw standby();
      return acting.responses();
    },
    webhooks: () => acting?.webhooks() ?? [],
  };
}

/** Registers in another registry, and can take back all that it registered: a later life registers the same names. */
class LentRegistry extends Registry {
  readonly #owner: Registry;
  readonly #names: string[] = [];

  constructor(owner: Registry) {
    super();
    this.#owner = owner;
  }

  override registerMetric<T extends string>(metric: Metric<T>): void {
    this.#owner.registerMetric(metric);
    this.#names.push((metric as unknown as { name: string }).name);
  }

  giveBack(): void {
    for (const name of this.#names.splice(0)) this.#owner.removeSingleMetric(name);
  }
}

/** Refuses to write to Kong when the lease is no longer surely held; reading does no harm. */
function guarded(admin: KongAdmin, holds: () => boolean): KongAdmin {
  const mindLease = (): void => {
    if (!holds()) throw new StandbyError('the lease of the responder has run out');
  };
  return {
    node: () => admin.node(),
    plugins: (tag) => admin.plugins(tag),
    consumer: (idOrUsername) => admin.consumer(idOrUsername),
    putPlugin: async (id, plugin) => {
      mindLease();
      return admin.putPlugin(id, plugin);
    },
    patchPlugin: async (id, change) => {
      mindLease();
      return admin.patchPlugin(id, change);
    },
    deletePlugin: async (id) => {
      mindLease();
      return admin.deletePlugin(id);
    },
    close: () => admin.close(),
  };
}
