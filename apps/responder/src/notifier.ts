import { createHash } from 'node:crypto';
import { Counter, Gauge } from 'prom-client';
import { jsonRecord, type Bus } from '@tripline/bus';
import type { Alert, DeadLetter } from '@tripline/model';
import {
  digestMessage,
  webhookMessage,
  type DeliveryOutcome,
  type WebhookMessage,
  type WebhookReceiver,
  type WebhookSender,
} from '@tripline/notify';
import { decide } from '@tripline/policy';
import { StoppedError, type Persist, type RoleContext } from '@tripline/runtime';
import { FencedError } from '@tripline/state';
import { parseAlerts } from './alerts.ts';
import { knownPrefix, Outbox, problemOf, type Message } from './outbox.ts';
import { createPause, createQueue, type Sleep } from './pause.ts';
import type { PolicySource } from './policy-file.ts';
import type { RoleState, RoleStateChanges } from './role-state.ts';

/** Messages under way to one receiver at once: a message that hangs holds up only its own place. */
const inFlightMax = 4;

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
  /** What keeps messages from this receiver, in words; null if nothing does. */
  problem(): string | null;
  status(): WebhookStatus;
  /** Rejects if the notifier failed; resolves when it ended. */
  ended: Promise<void>;
}

/** How deliveries to one receiver stand. */
export interface WebhookStatus {
  webhook: string;
  problem: string | null;
  /** Messages that wait, digests among them. */
  waiting: number;
  /** Messages that will be counted in the next digests. */
  collecting: number;
  /** Messages that went to the dead letters since the start, and the last of them. */
  deadLetters: number;
  lastDeadLetter: { at: number; detail: string } | null;
}

/**
 * Notifies one receiver of alerts: raised, more severe, closed. Two loops share an outbox: one takes alerts from the bus
 * into it, the other sends what is due, each message with attempts and waits of its own. So neither does a message that is
 * refused hold up the others, nor does a receiver hold up the bus or another receiver.
 *
 * The order of effects, and what a crash behind each leaves:
 * 1. take a batch of alerts into the outbox, in memory: the batch comes again.
 * 2. save what changed (what the receiver knows, what waits, what is counted), in one step: the batch comes again, and is
 *    no news any more, so nothing is counted twice.
 * 3. let the position on `alerts` move on.
 * 4. send: the message is sent again with the same `webhook-id`, by which receivers tell.
 * 5. save that it was delivered, or when it is tried next: nothing is repeated.
 */
export function startNotifier(options: NotifierOptions): Notifier {
  const { receiver, bus, state, policies, sender, deliveries, logger, now, stopped } = options;
  const pause = createPause(options.sleep, stopped);
  const { maxPerMinute, digestMinutes } = receiver;
  const outbox = new Outbox({ receiverId: receiver.id, maxPerMinute, digestMinutes, random: options.random });
  const goneKey = `gone:${receiver.id}`;
  // The secret is no part of it: the URL is what is gone. Hashed, since its path may be a secret.
  const target = createHash('sha256').update(receiver.url).digest('hex');
  const goneText = `webhook ${receiver.id} said that it is gone (410): nothing is sent until its URL is changed`;
  let problem: string | null = null;
  let deadLetters = 0;
  let lastDeadLetter: WebhookStatus['lastDeadLetter'] = null;

  outbox.restore((prefix, decode) => state.read(prefix, decode), now());
  outbox.gone = state
    .read(goneKey, (value) => value)
    .some(({ name, value }) => name === '' && value === target);
  if (outbox.gone) noteGone();

  // ---- keeping -------------------------------------------------------------------------------------------------------

  const oneSave = createQueue();

  /** Saves what changed, all in one partition, since the parts of a change belong together. Tries until it works. */
  function save(): Promise<void> {
    return oneSave(() => saveIn(0, outbox.takeChanges()));
  }

  async function saveIn(partition: number, changes: RoleStateChanges): Promise<void> {
    if (changes.size === 0) return;
    await options.persist.run(
      `saving what is sent to webhook ${receiver.id}`,
      () => state.save(partition, changes),
      (error) => error instanceof FencedError,
    );
  }

  /** Earlier versions kept what a receiver knows in the partition of its alert. */
  async function gather(): Promise<void> {
    const scattered = state
      .read(knownPrefix(receiver.id), (value) => value)
      .filter(({ partition }) => partition > 0)
      .map(({ partition, name, value }) => ({ partition, key: knownPrefix(receiver.id) + name, value }));
    await saveIn(0, new Map(scattered.map(({ key, value }) => [key, value])));
    for (const partition of new Set(scattered.map((entry) => entry.partition))) {
      const left = scattered.filter((entry) => entry.partition === partition);
      await saveIn(partition, new Map(left.map(({ key }) => [key, null])));
    }
  }

  // ---- taking --------------------------------------------------------------------------------------------------------

  const oneBatch = createQueue();

  async function takeBatch(batch: { body: Buffer }): Promise<void> {
    const collectedBefore = outbox.collected;
    for (const alert of parseAlerts(batch.body, () => undefined)) outbox.take(alert, policyFor(alert), now());
    deliveries.collected.inc({ webhook: receiver.id }, outbox.collected - collectedBefore);
    await save();
    pause.kick();
  }

  /** The first policy that wants this receiver notified of the alert. */
  function policyFor(alert: Alert): string | undefined {
    return decide(policies.current(), alert).find(
      (decision) => decision.kind === 'notify' && decision.webhook === receiver.id && !decision.dryRun,
    )?.policyId;
  }

  // ---- sending -------------------------------------------------------------------------------------------------------

  const underWay = new Set<Promise<void>>();
  let failure: { error: unknown } | undefined;

  async function deliver(): Promise<void> {
    while (!stopped.aborted && !failure) {
      outbox.sealDigests(now());
      await save();
      for (const message of outbox.deadMessages(now())) await bury(message);
      while (underWay.size < inFlightMax) {
        const message = outbox.next(now());
        if (!message) break;
        const attempt = send(message)
          .catch((error: unknown) => {
            failure ??= { error };
          })
          .finally(() => {
            underWay.delete(attempt);
            pause.kick();
          });
        underWay.add(attempt);
      }
      const isFull = underWay.size >= inFlightMax;
      await pause.wait(isFull ? Infinity : outbox.dueInMs(now()));
    }
    await Promise.all(underWay);
    if (failure) throw failure.error;
  }

  async function send(message: Message): Promise<void> {
    const outcome = await sender.send(receiver, webhookOf(message), stopped);
    // Not the receiver's fault: the message is sent after the start.
    if (stopped.aborted && outcome.kind !== 'delivered') return;
    deliveries.attempts.inc({ webhook: receiver.id, outcome: labelOf(outcome) });
    if (outcome.kind === 'delivered') {
      outbox.delivered(message);
      problem = null;
    } else {
      noteFailure(message, outcome);
    }
    await save();
    if (outbox.gone) await oneSave(() => saveIn(0, new Map([[goneKey, target]])));
  }

  function webhookOf({ content }: Message): WebhookMessage {
    return content.kind === 'digest'
      ? digestMessage(receiver.id, content.digest)
      : webhookMessage(`alert.${content.event}`, content.alert);
  }

  function noteFailure(message: Message, outcome: Exclude<DeliveryOutcome, { kind: 'delivered' }>): void {
    outbox.failed(message, outcome, now());
    const text = problemOf(outcome);
    if (problem === null) {
      logger.warn(
        { webhook: receiver.id, message: nameOf(message), problem: text },
        'a webhook was not delivered; trying again',
      );
    }
    problem = `webhook ${receiver.id}: ${text}`;
    if (outbox.gone) noteGone();
  }

  function noteGone(): void {
    if (problem !== goneText) logger.error({ webhook: receiver.id }, goneText);
    problem = goneText;
  }

  async function bury(message: Message): Promise<void> {
    const { reason, problem: text } = message.dead!;
    const { content } = message;
    const letter: DeadLetter = {
      receivedAt: now(),
      reason,
      detail: `webhook ${receiver.id}, ${nameOf(message)}: ${text}`,
      sample: JSON.stringify(content.kind === 'alert' ? content.alert : content.digest).slice(0, 2_000),
    };
    try {
      await bus.publish('dead-letters', [jsonRecord(message.key, letter)]);
    } catch (error) {
      logger.error(
        { err: error, webhook: receiver.id, message: nameOf(message) },
        'a dead letter cannot be kept; trying again',
      );
      outbox.notBuried(message, now());
      return;
    }
    outbox.buried(message);
    deliveries.attempts.inc({ webhook: receiver.id, outcome: 'given-up' });
    deadLetters++;
    lastDeadLetter = { at: now(), detail: letter.detail };
    logger.error(
      { webhook: receiver.id, message: nameOf(message), reason, problem: text },
      'a webhook is given up; it is in the dead letters',
    );
    await save();
  }

  // ---- running -------------------------------------------------------------------------------------------------------

  async function run(): Promise<void> {
    await gather();
    const subscription = bus.consume({
      topic: 'alerts',
      group: `webhook:${receiver.id}`,
      // A receiver that is new is not notified of what was before it.
      from: 'newest',
      // A receiver that does not answer must not stop detection.
      mayLose: true,
      onLost: (_, from, to) =>
        logger.error(
          { webhook: receiver.id, from, to },
          'alerts were gone from the bus before this webhook took them: it is too far behind',
        ),
      onBatch: (batch) => oneBatch(() => takeBatch(batch)),
    });
    const stop = (): void => void subscription.stop().catch(() => undefined);
    if (stopped.aborted) stop();
    else stopped.addEventListener('abort', stop, { once: true });
    await Promise.all([subscription.stopped, deliver()]);
  }

  const ended = run().catch((error: unknown) => {
    if (!(error instanceof StoppedError)) throw error;
  });
  return {
    problem: () => problem,
    status: () => ({
      webhook: receiver.id,
      problem,
      waiting: outbox.waiting,
      collecting: outbox.collecting,
      deadLetters,
      lastDeadLetter,
    }),
    ended,
  };
}

function nameOf({ content }: Message): string {
  return content.kind === 'alert'
    ? `alert ${content.alert.id}, revision ${content.alert.revision}`
    : `digest of ${content.digest.messages} messages by ${content.digest.policy}`;
}

function labelOf(outcome: DeliveryOutcome): string {
  if (outcome.kind !== 'failed') return outcome.kind;
  return outcome.transient ? 'failed' : 'refused';
}

/** The metrics of all webhooks together. */
export interface WebhookMetrics {
  attempts: Counter<'webhook' | 'outcome'>;
  collected: Counter<'webhook'>;
}

export function createWebhookMetrics(
  registry: RoleContext['metrics'],
  failing: () => string[],
  statuses: () => WebhookStatus[] = () => [],
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
  new Gauge({
    name: 'tripline_webhook_waiting_messages',
    help: 'Messages that wait to be delivered, digests among them',
    labelNames: ['webhook'],
    registers,
    collect() {
      this.reset();
      for (const { webhook, waiting } of statuses()) this.set({ webhook }, waiting);
    },
  });
  return {
    attempts: new Counter({
      name: 'tripline_webhook_deliveries_total',
      help: 'Attempts to deliver: delivered, failed, refused (4xx), gone (410); and messages given up (in the dead letters)',
      labelNames: ['webhook', 'outcome'],
      registers,
    }),
    collected: new Counter({
      name: 'tripline_webhook_collected_total',
      help: 'Messages that were not sent one by one, but counted in a digest',
      labelNames: ['webhook'],
      registers,
    }),
  };
}
