import type { Bus, Subscription } from '@tripline/bus';
import type { KongAdmin } from '@tripline/kong';
import type { Response } from '@tripline/model';
import type { Channel } from '@tripline/notify';
import { actions as allActions, type ActionRegistry } from '@tripline/policy';
import {
  backoffMs,
  Counter,
  createPause,
  createPersist,
  sleep,
  StoppedError,
  type Pause,
  type Persist,
  type RoleContext,
  type RoleHealth,
  type RunningRole,
  type Sleep,
} from '@tripline/runtime';
import type { StateStore } from '@tripline/state';
import { createDeliveryMetrics, type ChannelStatus } from './notifications/metrics.ts';
import { Notifier } from './notifications/notifier.ts';
import type { NotificationRetention } from './notifications/outbox.ts';
import type { PolicySource } from './policy-file.ts';
import type { ControllerLimits } from './responses/admission.ts';
import type { ResponseRetention } from './responses/book.ts';
import { Controller } from './responses/controller.ts';
import { openRoleState, type RoleState } from './role-state.ts';

export interface ResponderOptions extends RoleContext {
  bus: Bus;
  /** For this role alone, and without expiry of idle keys: a permanent block may stand for years. */
  state: StateStore;
  /** Undefined: no Kong is configured; channels still work. */
  admin: KongAdmin | undefined;
  policies: PolicySource;
  channels: readonly Channel[];
  /** 0 up to 1, for the jitter of retries. */
  random: () => number;
  limits?: Partial<ControllerLimits>;
  retention?: Partial<ResponseRetention & NotificationRetention>;
  /** Default: all of packages/policy. */
  actions?: ActionRegistry;
  /** How to wait; default: timers. */
  sleep?: Sleep;
}

export interface RunningResponder extends RunningRole {
  /** See `Controller.lift`. */
  lift(responseId: string): Promise<Response>;
  /** In force, on their way, or ended not long ago. Empty until the state was read. */
  responses(): Response[];
  /** How deliveries stand. Empty until the state was read, and where another responder acts. */
  channels(): ChannelStatus[];
}

/** A loop that got nowhere for this long is stalled. */
const stalledMs = 60_000;

/**
 * Starts the responder: alerts to plugins in Kong (the controller) and to channels (one notifier per channel). The two do
 * not wait for each other. `bus`, `state`, `admin` and `channels` stay the caller's to close.
 */
export function startResponder(options: ResponderOptions): RunningResponder {
  return new Responder(options);
}

/** What runs once the state was read. */
interface Parts {
  state: RoleState;
  controller: Controller;
  notifiers: readonly Notifier[];
}

class Responder implements RunningResponder {
  readonly name = 'responder';
  readonly ended: Promise<void>;
  readonly #options: ResponderOptions;
  readonly #actions: ActionRegistry;
  readonly #sleep: Sleep;
  readonly #stopping = new AbortController();
  /** Ended early when there is something to do in Kong. */
  readonly #pause: Pause;
  readonly #persist: Persist;
  readonly #started: Promise<Parts>;
  #parts: Parts | undefined;
  /** Another responder has claimed the state. */
  #fenced: Error | undefined;

  constructor(options: ResponderOptions) {
    this.#options = options;
    const { logger, now, policies, actions = allActions, sleep: sleepFor = sleep } = options;
    this.#actions = actions;
    this.#sleep = sleepFor;
    this.#pause = createPause(sleepFor, this.#stopping.signal);
    this.#persist = createPersist({ logger, now, stopped: this.#stopping.signal });
    for (const { type, id, proxyHost } of options.channels)
      if (proxyHost !== undefined)
        logger.info({ [type]: id, proxy: proxyHost }, `a ${type} is reached through a proxy`);
    const unsubscribe = policies.onChange(() => this.#reportUnknownChannels());
    this.#reportUnknownChannels();
    this.#started = this.#start();
    const loops = [this.#decideAlerts(), this.#keepKong(), this.#notify()];
    this.ended = this.#end(loops).finally(unsubscribe);
    // A failure is reported to callers that await `ended`. Without one it must not count as an unhandled rejection.
    this.ended.catch(() => undefined);
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.ended.catch(() => undefined);
  }

  async lift(responseId: string): Promise<Response> {
    return (await this.#started).controller.lift(responseId);
  }

  responses(): Response[] {
    return this.#parts?.controller.responses() ?? [];
  }

  channels(): ChannelStatus[] {
    return this.#parts?.notifiers.map((notifier) => notifier.status()) ?? [];
  }

  health(): RoleHealth {
    const { now, bus, state } = this.#options;
    if (!this.#parts) {
      const [problem] = this.#persist.failing().values();
      return { alive: true, ready: false, detail: problem ?? 'reading the state' };
    }
    const { controller } = this.#parts;
    const alive = now() - controller.progressAt() <= stalledMs;
    const problem = controller.problem();
    const failing = this.channels().flatMap((channel) => channel.problem ?? []);
    const elsewhere = bus.problem() ?? state.problem();
    const notes = [problem, elsewhere, controller.notice(), ...failing].filter((text) => text !== null);
    const ready = problem === null && elsewhere === null && controller.compared();
    if (!alive) notes.unshift(`nothing has moved for more than ${stalledMs / 1000} s`);
    if (notes.length === 0) notes.push(ready ? 'ok' : 'looking at Kong');
    return { alive, ready, detail: notes.join('; ') };
  }

  // ---- starting ------------------------------------------------------------------------------------------------------

  #reportUnknownChannels(): void {
    const { policies, channels, logger } = this.#options;
    const known = channels.map(({ id }) => id);
    for (const policy of policies.current().policies) {
      for (const action of policy.actions) {
        const channel = this.#actions.channelOf(action);
        if (channel === undefined || known.includes(channel)) continue;
        logger.warn(
          { policy: policy.id, webhook: channel, configured: known },
          'a policy names a webhook that is not configured: it notifies nobody',
        );
      }
    }
  }

  async #start(): Promise<Parts> {
    const options = this.#options;
    const unreadable: string[] = [];
    const state = await this.#openState(unreadable);
    const common = { ...options, state, actions: this.#actions };
    const controller = new Controller({ ...common, wake: () => this.#pause.wake() });
    const deliveries = createDeliveryMetrics(options.metrics, () => this.channels());
    const notifiers = options.channels.map(
      (channel) =>
        new Notifier({
          ...common,
          channel,
          deliveries,
          persist: this.#persist,
          sleep: this.#sleep,
          stopped: this.#stopping.signal,
        }),
    );
    if (unreadable.length > 0) {
      options.logger.error(
        { entries: unreadable.length, first: unreadable.slice(0, 10) },
        'entries of the state cannot be read, as another version wrote them or the store is damaged: they are forgotten. ' +
          'Blocks and limits among them are taken off Kong, also permanent ones, and come back if their alert goes on; ' +
          'webhooks may be notified of an alert again. See `tripline responses list` for what is in force',
      );
    }
    return (this.#parts = { state, controller, notifiers });
  }

  /** Keys of entries that cannot be read are added to `unreadable`, also later while parts are made. */
  #openState(unreadable: string[]): Promise<RoleState> {
    const { bus, state, logger, metrics } = this.#options;
    const unreadableCount = new Counter({
      name: 'tripline_responder_unreadable_total',
      help: 'Entries of the state that could not be read, as another version had written them, and were forgotten',
      registers: [metrics],
    });
    return this.#persist.run('reading the state', () =>
      openRoleState(state, bus.partitions, {
        restored: () =>
          logger.error('the state was emptied from outside: everything that was in it is saved again'),
        unreadable: (key) => {
          unreadable.push(key);
          unreadableCount.inc();
        },
        fenced: (error) => {
          this.#fenced = error;
          this.#stopping.abort();
        },
      }),
    );
  }

  // ---- running -------------------------------------------------------------------------------------------------------

  async #decideAlerts(): Promise<void> {
    const { controller, state } = await this.#started;
    const { bus, logger } = this.#options;
    const { signal } = this.#stopping;
    const retry = createPause(this.#sleep, signal);
    let logged = '';
    const subscription: Subscription = bus.consume({
      topic: 'alerts',
      group: 'responder',
      startAt: (partition) => Promise.resolve(state.offset(partition)),
      async onBatch(batch) {
        for (let failures = 1; ; failures++) {
          if (signal.aborted) throw new StoppedError();
          try {
            await controller.decide(batch);
            logged = '';
            subscription.passed(batch.partition, batch.nextOffset);
            return;
          } catch (error) {
            const problem = (error as Error).message;
            if (problem !== logged)
              logger.error({ err: error as Error }, 'alerts cannot be decided; trying again');
            logged = problem;
            await retry.wait(backoffMs(failures, { firstMs: 1_000, maxMs: 30_000 }));
          }
        }
      },
    });
    const stop = (): void => void subscription.stop().catch(() => undefined);
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
    await subscription.stopped.catch((error: unknown) => {
      if (!(error instanceof StoppedError)) throw error;
    });
  }

  async #keepKong(): Promise<void> {
    const { controller } = await this.#started;
    while (!this.#stopping.signal.aborted) {
      await controller.pass();
      await this.#pause.wait(controller.dueInMs());
    }
  }

  async #notify(): Promise<void> {
    const { notifiers } = await this.#started;
    await Promise.all(notifiers.map((notifier) => notifier.run()));
  }

  async #end(loops: readonly Promise<void>[]): Promise<void> {
    try {
      await Promise.all(loops).catch((error: unknown) => {
        if (!(error instanceof StoppedError)) throw error;
      });
      if (this.#fenced) throw this.#fenced;
    } finally {
      // If one loop failed, the others end too.
      this.#stopping.abort();
      await Promise.allSettled(loops);
    }
  }
}
