import { createHash } from 'node:crypto';
import { Counter, Gauge } from 'prom-client';
import type { Bus } from '@tripline/bus';
import { severities, type Alert, type DeadLetter, type Severity } from '@tripline/model';
import {
  retryDelayMs,
  webhookMessage,
  type WebhookEvent,
  type WebhookReceiver,
  type WebhookSender,
} from '@tripline/notify';
import { decide } from '@tripline/policy';
import { StoppedError, type Persist, type RoleContext } from '@tripline/runtime';
import { FencedError, type StateChanges } from '@tripline/state';
import { parseAlerts } from './alerts.ts';
import { createPause, type Sleep } from './pause.ts';
import type { PolicySource } from './policy-file.ts';
import type { RoleState } from './role-state.ts';

/** An alert is not told any more when its last call is older than this. */
const ageMaxMs = 24 * 3_600_000;
/** What a receiver was told is remembered so long, ms: longer than an episode goes without news. */
const rememberMs = 7 * 86_400_000;

export interface NotifierOptions extends RoleContext {
  receiver: WebhookReceiver;
  bus: Bus;
  state: RoleState;
  persist: Persist;
  policies: PolicySource;
  sender: WebhookSender;
  deliveries: WebhookMetrics;
  random: () => number;
  sleep: Sleep;
  stopped: AbortSignal;
}

export interface Notifier {
  /** What keeps this receiver from being told, in words; null if nothing does. */
  problem(): string | null;
  /** Rejects if the notifier failed; resolves when it ended. */
  ended: Promise<void>;
}

/** What a receiver knows of an alert; the value in the state. */
interface Told {
  /** The highest that it was told of: a repeated or older revision is then no news. */
  severity: Severity;
  closed: boolean;
  /** Wall clock, ms. */
  at: number;
}

/**
 * Tells one receiver about alerts: raised, more severe, closed. Its position on `alerts` is the outbox: it moves on only
 * when a message was delivered or given up, so nothing is lost over restarts and no receiver waits for another.
 *
 * Order of effects: deliver, note in the state what the receiver knows, let the position move on. A crash behind the
 * first repeats the message with the same `webhook-id`, by which receivers tell; behind the second nothing is repeated.
 */
export function startNotifier(options: NotifierOptions): Notifier {
  const { receiver, bus, policies, sender, logger, now, stopped } = options;
  const pause = createPause(options.sleep, stopped);
  const told = new Map<string, { partition: number; told: Told }>();
  const prefix = `told:${receiver.id}:`;
  const goneKey = `gone:${receiver.id}`;
  // The secret is no part of it: the URL is what is gone. Hashed, since its path may be a secret.
  const target = createHash('sha256').update(receiver.url).digest('hex');
  let problem: string | null = null;

  for (const { partition, name, value } of options.state.read(prefix, decode))
    told.set(name, { partition, told: value });
  const gone = options.state
    .read(goneKey, (value) => value)
    .some(({ name, value }) => name === '' && value === target);
  const goneText = `webhook ${receiver.id} said that it is gone (410): nothing is sent until its URL is changed`;

  /** What a receiver was told is told again if it is not kept, so it is kept before anything else is sent. */
  function save(partition: number, changes: StateChanges): Promise<void> {
    return options.persist.run(
      `noting what webhook ${receiver.id} was told`,
      () => options.state.save(partition, changes),
      (error) => error instanceof FencedError,
    );
  }

  async function onBatch(batch: { partition: number; body: Buffer }): Promise<void> {
    const alerts = parseAlerts(batch.body, () => undefined);
    for (const alert of alerts) {
      const event = eventFor(alert);
      if (!event) continue;
      await deliver(event, alert);
      const news = {
        severity: alert.severity,
        closed: event === 'alert.closed',
        at: now(),
      };
      told.set(alert.id, { partition: batch.partition, told: news });
      const changes = new Map<string, string | null>([[prefix + alert.id, JSON.stringify(news)]]);
      for (const key of forgetOld(batch.partition)) changes.set(key, null);
      await save(batch.partition, changes);
    }
  }

  function eventFor(alert: Alert): WebhookEvent | undefined {
    const known = told.get(alert.id)?.told;
    if (known?.closed) return undefined;
    // Whoever heard of the beginning hears of the end, whatever the policies say by then.
    if (known && alert.status === 'closed') return 'alert.closed';
    const named = decide(policies.current(), alert).some(
      (decision) => decision.kind === 'notify' && decision.webhook === receiver.id && !decision.dryRun,
    );
    if (!named) return undefined;
    if (!known) return alert.status === 'closed' ? 'alert.closed' : 'alert.raised';
    const worse = severities.indexOf(alert.severity) > severities.indexOf(known.severity);
    return worse ? 'alert.updated' : undefined;
  }

  /** Resolves when the message was delivered or given up; rejects when the role stops before. */
  async function deliver(event: WebhookEvent, alert: Alert): Promise<void> {
    const message = webhookMessage(event, alert);
    let lastProblem = 'nothing was tried: the alert was too old when its turn came';
    for (let attempts = 1; ; attempts++) {
      mindStop();
      if (now() - alert.lastSeenAt > ageMaxMs) {
        await giveUp(alert, lastProblem);
        return;
      }
      const outcome = await sender.send(receiver, message, stopped);
      if (outcome.kind === 'delivered') {
        options.deliveries.attempts.inc({ webhook: receiver.id, outcome: 'delivered' });
        problem = null;
        return;
      }
      mindStop();
      options.deliveries.attempts.inc({ webhook: receiver.id, outcome: outcome.kind });
      if (outcome.kind === 'gone') {
        logger.error({ webhook: receiver.id }, goneText);
        problem = goneText;
        await save(0, new Map([[goneKey, target]]));
        await untilStopped();
        throw new StoppedError();
      }
      const delayMs = retryDelayMs(attempts, outcome, options.random);
      lastProblem = outcome.problem;
      if (problem === null) {
        logger.warn(
          { webhook: receiver.id, problem: lastProblem, retryInMs: delayMs },
          'a webhook was not delivered; trying again',
        );
      }
      problem = `webhook ${receiver.id}: ${lastProblem}`;
      await pause.wait(delayMs);
    }
  }

  function mindStop(): void {
    if (stopped.aborted) throw new StoppedError();
  }

  async function giveUp(alert: Alert, lastProblem: string): Promise<void> {
    options.deliveries.attempts.inc({ webhook: receiver.id, outcome: 'given-up' });
    logger.error(
      { webhook: receiver.id, alert: alert.id, problem: lastProblem },
      'a webhook is given up after 24 hours',
    );
    const letter: DeadLetter = {
      receivedAt: now(),
      reason: 'webhook-given-up',
      detail: `webhook ${receiver.id}, alert ${alert.id}, revision ${alert.revision}: ${lastProblem}`,
      sample: JSON.stringify(alert).slice(0, 2_000),
    };
    try {
      await bus.publish('dead-letters', [{ key: alert.id, value: JSON.stringify(letter) }]);
    } catch (error) {
      logger.error(
        { err: error as Error, webhook: receiver.id, alert: alert.id },
        'the dead letter cannot be kept',
      );
    }
  }

  function forgetOld(partition: number): string[] {
    const old = [...told].filter(
      ([, entry]) => entry.partition === partition && now() - entry.told.at > rememberMs,
    );
    for (const [id] of old) told.delete(id);
    return old.map(([id]) => prefix + id);
  }

  function untilStopped(): Promise<void> {
    return new Promise((resolve) => {
      if (stopped.aborted) resolve();
      else stopped.addEventListener('abort', () => resolve(), { once: true });
    });
  }

  if (gone) {
    problem = goneText;
    logger.error({ webhook: receiver.id }, goneText);
    return { problem: () => problem, ended: untilStopped() };
  }
  const subscription = bus.consume({
    topic: 'alerts',
    group: `webhook:${receiver.id}`,
    // A receiver that is new is not told what was before it.
    from: 'newest',
    // A receiver that does not answer must not stop detection.
    mayLose: true,
    onLost: (_, from, to) =>
      logger.error(
        { webhook: receiver.id, from, to },
        'alerts were gone from the bus before this webhook was told of them: it is too far behind',
      ),
    onBatch,
  });
  stopped.addEventListener('abort', () => void subscription.stop().catch(() => undefined), { once: true });
  const ended = subscription.stopped.catch((error: unknown) => {
    if (!(error instanceof StoppedError)) throw error;
  });
  return { problem: () => problem, ended };
}

/** Throws if the value is not what is saved here, as another version or a damaged store may have left it. */
function decode(value: string): Told {
  const told = JSON.parse(value) as Told;
  if (!severities.includes(told.severity) || typeof told.closed !== 'boolean' || !Number.isFinite(told.at))
    throw new Error('it is no note of what a webhook was told');
  return told;
}

/** Of all receivers. */
export interface WebhookMetrics {
  attempts: Counter<'webhook' | 'outcome'>;
}

export function createWebhookMetrics(
  registry: RoleContext['metrics'],
  failing: () => string[],
): WebhookMetrics {
  const registers = [registry];
  new Gauge({
    name: 'tripline_webhook_failing',
    help: '1 for each webhook that cannot be delivered at the moment',
    labelNames: ['webhook'],
    registers,
    collect() {
      this.reset();
      for (const webhook of failing()) this.set({ webhook }, 1);
    },
  });
  return {
    attempts: new Counter({
      name: 'tripline_webhook_deliveries_total',
      help: 'Attempts to deliver: delivered, failed, gone (410); and messages given up',
      labelNames: ['webhook', 'outcome'],
      registers,
    }),
  };
}
