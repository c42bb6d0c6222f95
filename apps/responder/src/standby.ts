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
  /** Unique name of this process, for the others and for people, such as `host:port pid`. */
  holder: string;
  /**
   * Starts the responder that acts. It gets an Admin API client that refuses to write without the lease, and a registry
   * whose metrics are removed when it ends.
   */
  start: (admin: KongAdmin | undefined, metrics: Registry) => RunningResponder;
  /** How long the lease lasts without being renewed, ms; it is renewed in thirds of that. Default 6,000. */
  leaseMs?: number;
  /** How to wait; default: timers. */
  sleep?: Sleep;
}

/** Thrown by a responder that stands by, where only the one that acts can answer. */
export class StandbyError extends Error {
  override name = 'StandbyError';
}

const leaseName = 'responder';

/**
 * Lets one of several responders act while the others stand by: the holder of the lease runs the responder, and stops it
 * when the lease cannot be renewed in time. A standby takes over when the lease has expired, at most `leaseMs` and a third
 * after it was last renewed.
 *
 * A stalled holder that wakes up can change neither its state, which its successor has claimed, nor Kong, since its client
 * checks the clock before each write. A write that was sent before is harmless: it carries the uuid that the successor
 * gives the same plugin, and the successor compares Kong in full when it begins.
 *
 * Without the state store nobody acts: what is in force in Kong stays until the store is back.
 */
export function startStandby(options: StandbyOptions): RunningResponder {
  const { state, holder, logger, now, metrics } = options;
  const leaseMs = options.leaseMs ?? 6_000;
  const stopping = new AbortController();
  const pause = createPause(options.sleep ?? sleepForReal, stopping.signal);
  /** The lease is certainly ours until then, by this process's clock. */
  let heldUntil = -Infinity;
  let acting: RunningResponder | undefined;
  /** A responder that ended by itself, and why: the next round stops it before anything else. */
  let over: { responder: RunningResponder; why: string } | undefined;
  let registry = new RemovableRegistry(metrics);
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
    registry = new RemovableRegistry(metrics);
    const started = options.start(admin, registry);
    acting = started;
    const end = (why: string): void => {
      over = { responder: started, why };
      pause.kick();
    };
    started.ended.then(
      () => end('it ended'),
      (error: unknown) => {
        if (!(error instanceof FencedError)) failure = error as Error;
        // Nothing is written to Kong until the next round finds out which process has the lease.
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
    registry.removeAll();
  };

  const round = async (): Promise<void> => {
    if (over && over.responder === acting) await stepDown(over.why);
    // The lease counts from before the request, since the answer may take a while.
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
    // Without this the next holder would wait until the lease expires.
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
    channels: () => acting?.channels() ?? [],
  };
}

/** Registers metrics in another registry, and can remove them again, since the next responder registers the same names. */
class RemovableRegistry extends Registry {
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

  removeAll(): void {
    for (const name of this.#names.splice(0)) this.#owner.removeSingleMetric(name);
  }
}

/** Makes a client that refuses to write to Kong unless the lease is certainly held; reading does no harm. */
function guarded(admin: KongAdmin, holds: () => boolean): KongAdmin {
  const assertHeld = (): void => {
    if (!holds()) throw new StandbyError('the lease of the responder has run out');
  };
  return {
    node: () => admin.node(),
    plugins: (tag) => admin.plugins(tag),
    consumer: (idOrUsername) => admin.consumer(idOrUsername),
    putPlugin: async (id, plugin) => {
      assertHeld();
      return admin.putPlugin(id, plugin);
    },
    patchPlugin: async (id, change) => {
      assertHeld();
      return admin.patchPlugin(id, change);
    },
    deletePlugin: async (id) => {
      assertHeld();
      return admin.deletePlugin(id);
    },
    close: () => admin.close(),
  };
}
