import type { KongAdmin } from '@tripline/kong';
import type { Response } from '@tripline/model';
import {
  createPause,
  Gauge,
  Registry,
  sleep,
  StoppedError,
  type Metric,
  type Pause,
  type RoleContext,
  type RoleHealth,
  type Sleep,
} from '@tripline/runtime';
import { FencedError, type StateStore } from '@tripline/state';
import type { ChannelStatus } from './notifications/metrics.ts';
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
  return new Standby(options);
}

class Standby implements RunningResponder {
  readonly name = 'responder';
  readonly ended: Promise<void>;
  readonly #options: StandbyOptions;
  readonly #leaseMs: number;
  readonly #admin: KongAdmin | undefined;
  readonly #stopping = new AbortController();
  readonly #pause: Pause;
  /** The lease is certainly ours until then, by this process's clock. */
  #heldUntil = -Infinity;
  #acting: RunningResponder | undefined;
  /** A responder that ended by itself, and why: the next round stops it before anything else. */
  #endedActing: { responder: RunningResponder; why: string } | undefined;
  #registry: RemovableRegistry;
  /** Who has the lease, as far as it is known. */
  #leader = '';
  #problem: string | null = null;
  #failure: Error | undefined;

  constructor(options: StandbyOptions) {
    this.#options = options;
    const { admin, now, metrics, leaseMs = 6_000 } = options;
    this.#leaseMs = leaseMs;
    this.#admin = admin && guarded(admin, () => now() < this.#heldUntil);
    this.#pause = createPause(options.sleep ?? sleep, this.#stopping.signal);
    this.#registry = new RemovableRegistry(metrics);
    const isActing = (): number => (this.#acting ? 1 : 0);
    new Gauge({
      name: 'tripline_responder_leader',
      help: '1 while this responder is the one that acts.',
      registers: [metrics],
      collect() {
        this.set(isActing());
      },
    });
    this.ended = this.#run();
    this.ended.catch(() => undefined);
  }

  health(): RoleHealth {
    if (this.#acting) return this.#acting.health();
    if (this.#problem !== null) return { alive: true, ready: false, detail: this.#problem };
    const isKnown = this.#leader !== '';
    return {
      alive: true,
      ready: isKnown,
      detail: isKnown ? `stands by; ${this.#leader} acts` : 'asking for the lease',
    };
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.ended.catch(() => undefined);
  }

  lift(responseId: string): Promise<Response> {
    return this.#acting ? this.#acting.lift(responseId) : Promise.reject(this.#standsBy());
  }

  responses(): Response[] {
    if (!this.#acting) throw this.#standsBy();
    return this.#acting.responses();
  }

  channels(): ChannelStatus[] {
    return this.#acting?.channels() ?? [];
  }

  #standsBy(): StandbyError {
    return new StandbyError(
      this.#leader === ''
        ? 'This responder does not act, nor is it known who does: the state store does not answer.'
        : `This responder stands by. Ask the one that acts: ${this.#leader}.`,
    );
  }

  async #run(): Promise<void> {
    const { state, holder, now } = this.#options;
    while (!this.#stopping.signal.aborted) {
      await this.#round();
      if (this.#failure) break;
      await this.#pause.wait(this.#leaseMs / 3);
    }
    await this.#acting?.stop();
    // Without this the next holder would wait until the lease expires.
    if (now() < this.#heldUntil) await state.release(leaseName, holder).catch(() => undefined);
    if (this.#failure && !(this.#failure instanceof StoppedError)) throw this.#failure;
  }

  /** Asks for the lease, and starts or stops acting. */
  async #round(): Promise<void> {
    const { state, holder, logger, now } = this.#options;
    const ended = this.#endedActing;
    if (ended && ended.responder === this.#acting) await this.#stepDown(ended.why);
    // The lease counts from before the request, since the answer may take a while.
    const askedAt = now();
    try {
      const lease = await state.lease(leaseName, holder, this.#leaseMs);
      if (this.#problem !== null) logger.info('the lease of the responder can be had again');
      this.#problem = null;
      this.#leader = lease.holder;
      if (lease.held) this.#heldUntil = askedAt + this.#leaseMs;
      else if (this.#acting) await this.#stepDown(`${lease.holder} has the lease`);
    } catch (error) {
      if (this.#problem === null)
        logger.error({ err: error as Error }, 'the lease of the responder cannot be had');
      this.#problem = `the lease cannot be had: ${(error as Error).message}`;
    }
    if (this.#acting && now() >= this.#heldUntil) await this.#stepDown(this.#problem ?? 'the lease ran out');
    else if (!this.#acting && now() < this.#heldUntil) this.#begin();
  }

  #begin(): void {
    const { logger, holder, metrics, start } = this.#options;
    logger.info({ holder }, 'this responder acts from now on');
    this.#registry = new RemovableRegistry(metrics);
    const responder = start(this.#admin, this.#registry);
    this.#acting = responder;
    const noteEnd = (why: string): void => {
      this.#endedActing = { responder, why };
      this.#pause.wake();
    };
    responder.ended.then(
      () => noteEnd('it ended'),
      (error: unknown) => {
        if (!(error instanceof FencedError)) this.#failure = error as Error;
        // Nothing is written to Kong until the next round finds out which process has the lease.
        this.#heldUntil = -Infinity;
        noteEnd('another responder has claimed its state');
      },
    );
  }

  async #stepDown(why: string): Promise<void> {
    const ending = this.#acting;
    if (!ending) return;
    const { logger, holder } = this.#options;
    logger.warn({ holder, leader: this.#leader }, `this responder stands by from now on: ${why}`);
    this.#acting = undefined;
    await ending.stop();
    this.#registry.removeAll();
  }
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
