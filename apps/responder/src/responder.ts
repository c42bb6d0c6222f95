import type { Bus, Subscription } from '@tripline/bus';
import type { KongAdmin } from '@tripline/kong';
import type { Response } from '@tripline/model';
import {
  createWebhookSender,
  proxyFor,
  type ProxySettings,
  type WebhookReceiver,
  type WebhookSender,
} from '@tripline/notify';
import {
  Counter,
  createPersist,
  StoppedError,
  type RoleContext,
  type RoleHealth,
  type RunningRole,
} from '@tripline/runtime';
import type { StateStore } from '@tripline/state';
import { createController, type Controller, type ControllerLimits } from './controller.ts';
import { createWebhookMetrics, startNotifier, type Notifier, type WebhookStatus } from './notifier.ts';
import { createPause, sleepForReal, type Sleep } from './pause.ts';
import type { PolicySource } from './policy-file.ts';
import { openRoleState } from './role-state.ts';

export interface ResponderOptions extends RoleContext {
  bus: Bus;
  /** Of this role alone, and without expiry of idle keys: a permanent block may stand for years. */
  state: StateStore;
  /** Undefined: no Kong is configured; webhooks still work. */
  admin: KongAdmin | undefined;
  policies: PolicySource;
  webhooks: readonly WebhookReceiver[];
  /** 0 up to 1, for the jitter of retries. */
  random: () => number;
  limits?: Partial<ControllerLimits>;
  /** How to wait; default: timers. */
  sleep?: Sleep;
  /** Default: sends over HTTP. */
  sender?: WebhookSender;
  /** The proxies that webhooks go through; the Admin API is always reached directly. */
  proxy?: ProxySettings | undefined;
  /** Takes secrets out of what receivers answer; default: what looks like a key or an address of e-mail is taken out. */
  sanitize?: (text: string) => string;
}

export interface RunningResponder extends RunningRole {
  /** See `Controller.lift`. */
  lift(responseId: string): Promise<Response>;
  /** In force, on their way, or ended not long ago. Empty until the state was read. */
  responses(): Response[];
  /** How deliveries stand. Empty until the state was read, and where another responder acts. */
  webhooks(): WebhookStatus[];
}

/** A loop that got nowhere for so long is stalled. */
const stalledMs = 60_000;

/**
 * Starts the responder: alerts to plugins in Kong (the controller) and to webhooks (one notifier per receiver). The two
 * do not wait for each other. `bus`, `state` and `admin` stay the caller's to close.
 */
export function startResponder(options: ResponderOptions): RunningResponder {
  const { bus, logger, now, policies } = options;
  const sleep = options.sleep ?? sleepForReal;
  const stopping = new AbortController();
  const sender =
    options.sender ?? createWebhookSender({ now, proxy: options.proxy, sanitize: options.sanitize });
  const pause = createPause(sleep, stopping.signal);
  let controller: Controller | undefined;
  const notifiers = new Map<string, Notifier>();
  const webhooks = (): WebhookStatus[] => [...notifiers.values()].map((notifier) => notifier.status());
  const deliveries = createWebhookMetrics(
    options.metrics,
    () => [...notifiers].filter(([, notifier]) => notifier.problem() !== null).map(([id]) => id),
    webhooks,
  );

  const nameUnknownWebhooks = (): void => {
    const known = new Set(options.webhooks.map((receiver) => receiver.id));
    for (const policy of policies.current().policies) {
      for (const action of policy.actions) {
        if (action.type !== 'notify' || known.has(action.webhook)) continue;
        logger.warn(
          { policy: policy.id, webhook: action.webhook, configured: [...known] },
          'a policy names a webhook that is not configured: it notifies nobody',
        );
      }
    }
  };
  for (const { id, url } of options.webhooks) {
    const via = proxyFor(new URL(url), options.proxy);
    if (via) logger.info({ webhook: id, proxy: via.host }, 'a webhook is reached through a proxy');
  }
  const forgetPolicies = policies.onChange(nameUnknownWebhooks);
  nameUnknownWebhooks();

  let fenced: Error | undefined;
  const unreadable: string[] = [];
  const unreadableCount = new Counter({
    name: 'tripline_responder_unreadable_total',
    help: 'Entries of the state that could not be read, as another version had written them, and were forgotten',
    registers: [options.metrics],
  });
  const persist = createPersist({ logger, now, stopped: stopping.signal });
  const opened = persist.run('reading the state', () =>
    openRoleState(options.state, bus.partitions, {
      restored: () =>
        logger.error('the state was emptied from outside: everything that was in it is saved again'),
      unreadable: (key) => {
        unreadable.push(key);
        unreadableCount.inc();
      },
      fenced: (error) => {
        fenced = error;
        stopping.abort();
      },
    }),
  );
  const started = opened.then((state) => {
    controller = createController({ ...options, state, wake: () => pause.kick() });
    for (const receiver of options.webhooks) {
      const notifier = startNotifier({
        ...options,
        receiver,
        state,
        persist,
        sender,
        deliveries,
        sleep,
        stopped: stopping.signal,
      });
      notifiers.set(receiver.id, notifier);
    }
    if (unreadable.length > 0) {
      logger.error(
        { entries: unreadable.length, first: unreadable.slice(0, 10) },
        'entries of the state cannot be read, as another version wrote them or the store is damaged: they are forgotten. ' +
          'Blocks and limits among them are taken off Kong, also permanent ones, and come back if their alert goes on; ' +
          'webhooks may be told of an alert again. See `tripline responses list` for what is in force',
      );
    }
    return { controller, state };
  });

  async function decideAlerts(): Promise<void> {
    const { controller, state } = await started;
    const retry = createPause(sleep, stopping.signal);
    let told = '';
    const subscription: Subscription = bus.consume({
      topic: 'alerts',
      group: 'responder',
      startAt: (partition) => Promise.resolve(state.offset(partition)),
      async onBatch(batch) {
        for (let attempts = 0; ; attempts++) {
          if (stopping.signal.aborted) throw new StoppedError();
          try {
            await controller.decide(batch);
            told = '';
            subscription.passed(batch.partition, batch.nextOffset);
            return;
          } catch (error) {
            const problem = (error as Error).message;
            if (problem !== told)
              logger.error({ err: error as Error }, 'alerts cannot be decided; trying again');
            told = problem;
            await retry.wait(Math.min(1_000 * 2 ** attempts, 30_000));
          }
        }
      },
    });
    const stop = (): void => void subscription.stop().catch(() => undefined);
    if (stopping.signal.aborted) stop();
    else stopping.signal.addEventListener('abort', stop, { once: true });
    await subscription.stopped.catch((error: unknown) => {
      if (!(error instanceof StoppedError)) throw error;
    });
  }

  async function keepKong(): Promise<void> {
    const { controller } = await started;
    while (!stopping.signal.aborted) {
      await controller.pass();
      await pause.wait(controller.dueInMs());
    }
  }

  async function notify(): Promise<void> {
    await started;
    await Promise.all([...notifiers.values()].map((notifier) => notifier.ended));
  }

  const parts = [decideAlerts(), keepKong(), notify()];
  const ended = (async () => {
    try {
      await Promise.all(parts).catch((error: unknown) => {
        if (!(error instanceof StoppedError)) throw error;
      });
      if (fenced) throw fenced;
    } finally {
      // If one part failed, the others end too.
      stopping.abort();
      await Promise.allSettled(parts);
      forgetPolicies();
      if (!options.sender) await sender.close();
    }
  })();
  // Whoever looks at `ended` sees a failure; nobody has to.
  ended.catch(() => undefined);

  function health(): RoleHealth {
    if (!controller) {
      const [problem] = persist.failing().values();
      return { alive: true, ready: false, detail: problem ?? 'reading the state' };
    }
    const alive = now() - controller.progressAt() <= stalledMs;
    const problem = controller.problem();
    const failing = [...notifiers.values()].flatMap((notifier) => notifier.problem() ?? []);
    const elsewhere = bus.problem() ?? options.state.problem();
    const notes = [problem, elsewhere, controller.notice(), ...failing].filter((text) => text !== null);
    const ready = problem === null && elsewhere === null && controller.compared();
    if (!alive) notes.unshift(`nothing has moved for more than ${stalledMs / 1000} s`);
    if (notes.length === 0) notes.push(ready ? 'ok' : 'looking at Kong');
    return { alive, ready, detail: notes.join('; ') };
  }

  return {
    name: 'responder',
    health,
    ended,
    async stop() {
      stopping.abort();
      await ended.catch(() => undefined);
    },
    lift: async (responseId) => (await started).controller.lift(responseId),
    responses: () => controller?.responses() ?? [],
    webhooks,
  };
}
