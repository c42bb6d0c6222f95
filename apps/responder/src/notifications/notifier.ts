import { createHash } from 'node:crypto';
import { jsonRecord, type Bus } from '@tripline/bus';
import type { Alert, DeadLetter } from '@tripline/model';
import type { Channel, Delivery, DeliveryFailure } from '@tripline/notify';
import { decide, type ActionRegistry } from '@tripline/policy';
import {
  createPause,
  createSerialQueue,
  StoppedError,
  type Pause,
  type Persist,
  type RoleContext,
  type Sleep,
} from '@tripline/runtime';
import { FencedError } from '@tripline/state';
import { parseAlerts } from '../alerts.ts';
import type { PolicySource } from '../policy-file.ts';
import type { RoleState, RoleStateChanges } from '../role-state.ts';
import type { ChannelStatus, DeliveryMetrics } from './metrics.ts';
import { defaultNotificationRetention, Outbox, problemOf, type NotificationRetention } from './outbox.ts';
import { outboxKeys, type Message } from './saved-outbox.ts';

/** Messages in flight to one channel at once: a message that hangs holds up only its own place. */
const inFlightMax = 4;

export interface NotifierOptions extends RoleContext {
  channel: Channel;
  bus: Bus;
  state: RoleState;
  persist: Persist;
  policies: PolicySource;
  actions: ActionRegistry;
  deliveries: DeliveryMetrics;
  retention?: Partial<NotificationRetention>;
  random: () => number;
  sleep: Sleep;
  stopped: AbortSignal;
}

/**
 * Notifies one channel of alerts: raised, more severe, closed. Two loops share an outbox. One takes alerts from the bus
 * into it; the other sends what is due, each message with attempts and waits of its own. So a message that is rejected does
 * not hold up the others, nor does a channel hold up the bus or another channel.
 *
 * The order of effects, and what a crash behind each leaves:
 * 1. take a batch of alerts into the outbox, in memory: the batch comes again.
 * 2. save what changed (alerts that the channel was notified of, messages, digests), in one step: the batch comes again,
 *    but is no news any more, so that nothing is counted twice.
 * 3. let the position on `alerts` move on.
 * 4. send: the message is sent again with the same content, from which the channel derives the same id.
 * 5. save that it was delivered, or when it is tried next: nothing is repeated.
 */
export class Notifier {
  readonly #options: NotifierOptions;
  readonly #channel: Channel;
  /** Kind and id of the channel, for people. */
  readonly #name: string;
  readonly #outbox: Outbox;
  readonly #pause: Pause;
  readonly #oneSave = createSerialQueue();
  readonly #oneBatch = createSerialQueue();
  readonly #inFlight = new Set<Promise<void>>();
  #failure: { error: unknown } | undefined;
  #problem: string | null = null;
  #deadLetters = 0;
  #lastDeadLetter: ChannelStatus['lastDeadLetter'] = null;

  constructor(options: NotifierOptions) {
    this.#options = options;
    const { channel, state, random, now, stopped } = options;
    this.#channel = channel;
    this.#name = `${channel.type} ${channel.id}`;
    this.#pause = createPause(options.sleep, stopped);
    this.#outbox = new Outbox({
      channelType: channel.type,
      channelId: channel.id,
      maxPerMinute: channel.maxPerMinute,
      digestMinutes: channel.digestMinutes,
      retention: { ...defaultNotificationRetention, ...options.retention },
      random,
    });
    this.#outbox.restore((prefix, decode) => state.read(prefix, decode), now());
    this.#outbox.gone = state
      .read(this.#goneKey, (value) => value)
      .some(({ name, value }) => name === '' && value === this.#destination);
    if (this.#outbox.gone) this.#noteGone();
  }

  /** Runs until the role stops. Rejects if it fails. */
  async run(): Promise<void> {
    const { bus, logger, stopped } = this.#options;
    try {
      await this.#gather();
      const subscription = bus.consume({
        topic: 'alerts',
        group: `${this.#channel.type}:${this.#channel.id}`,
        // A new channel is not notified of older alerts.
        from: 'newest',
        // A channel that does not answer must not stop detection.
        mayLose: true,
        onLost: (_, from, to) =>
          logger.error(
            { webhook: this.#channel.id, from, to },
            `alerts were gone from the bus before this ${this.#channel.type} took them: it is too far behind`,
          ),
        onBatch: (batch) => this.#oneBatch(() => this.#take(batch)),
      });
      const stop = (): void => void subscription.stop().catch(() => undefined);
      if (stopped.aborted) stop();
      else stopped.addEventListener('abort', stop, { once: true });
      await Promise.all([subscription.stopped, this.#deliver()]);
    } catch (error) {
      if (!(error instanceof StoppedError)) throw error;
    }
  }

  status(): ChannelStatus {
    return {
      channel: this.#channel.id,
      problem: this.#problem,
      waiting: this.#outbox.waiting,
      collecting: this.#outbox.collecting,
      deadLetters: this.#deadLetters,
      lastDeadLetter: this.#lastDeadLetter,
    };
  }

  // ---- taking --------------------------------------------------------------------------------------------------------

  async #take({ body }: { body: Buffer }): Promise<void> {
    const { now, deliveries } = this.#options;
    const collectedBefore = this.#outbox.collected;
    for (const alert of parseAlerts(body, () => undefined))
      this.#outbox.take(alert, this.#policyFor(alert), now());
    deliveries.collected.inc({ webhook: this.#channel.id }, this.#outbox.collected - collectedBefore);
    await this.#save();
    this.#pause.wake();
  }

  /** The first policy that notifies this channel of the alert. */
  #policyFor(alert: Alert): string | undefined {
    const { policies, actions } = this.#options;
    return decide(policies.current(), alert, actions).find(
      (decision) => decision.kind === 'notify' && decision.channel === this.#channel.id && !decision.dryRun,
    )?.policyId;
  }

  // ---- sending -------------------------------------------------------------------------------------------------------

  async #deliver(): Promise<void> {
    const { now, stopped } = this.#options;
    const outbox = this.#outbox;
    while (!stopped.aborted && !this.#failure) {
      outbox.sealDigests(now());
      await this.#save();
      for (const message of outbox.deadMessages(now())) await this.#toDeadLetters(message);
      while (this.#inFlight.size < inFlightMax) {
        const message = outbox.next(now());
        if (!message) break;
        this.#start(message);
      }
      const isFull = this.#inFlight.size >= inFlightMax;
      await this.#pause.wait(isFull ? Infinity : outbox.dueInMs(now()));
    }
    await Promise.all(this.#inFlight);
    if (this.#failure) throw this.#failure.error;
  }

  #start(message: Message): void {
    const attempt = this.#send(message)
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => {
        this.#inFlight.delete(attempt);
        this.#pause.wake();
      });
    this.#inFlight.add(attempt);
  }

  async #send(message: Message): Promise<void> {
    const { stopped, deliveries } = this.#options;
    const delivery = await this.#channel.send(message.content, stopped);
    // Not the receiver's fault: the message is sent after the start.
    if (stopped.aborted && delivery.kind !== 'delivered') return;
    deliveries.attempts.inc({ webhook: this.#channel.id, outcome: outcomeOf(delivery) });
    if (delivery.kind === 'delivered') {
      this.#outbox.delivered(message);
      this.#problem = null;
    } else {
      this.#noteFailure(message, delivery);
    }
    await this.#save();
    if (this.#outbox.gone)
      await this.#oneSave(() => this.#saveIn(0, new Map([[this.#goneKey, this.#destination]])));
  }

  #noteFailure(message: Message, failure: DeliveryFailure): void {
    const { logger, now } = this.#options;
    this.#outbox.failed(message, failure, now());
    const text = problemOf(failure);
    if (this.#problem === null) {
      logger.warn(
        { webhook: this.#channel.id, message: describe(message), problem: text },
        `a ${this.#channel.type} was not delivered; trying again`,
      );
    }
    this.#problem = `${this.#name}: ${text}`;
    if (this.#outbox.gone) this.#noteGone();
  }

  #noteGone(): void {
    const text = `${this.#name} said that it is gone (410): nothing is sent until its URL is changed`;
    if (this.#problem !== text) this.#options.logger.error({ webhook: this.#channel.id }, text);
    this.#problem = text;
  }

  async #toDeadLetters(message: Message): Promise<void> {
    const { bus, logger, now, deliveries } = this.#options;
    const { reason, problem } = message.dead!;
    const { content } = message;
    const webhook = this.#channel.id;
    const letter: DeadLetter = {
      receivedAt: now(),
      reason,
      detail: `${this.#name}, ${describe(message)}: ${problem}`,
      sample: JSON.stringify(content.kind === 'alert' ? content.alert : content.digest).slice(0, 2_000),
    };
    try {
      await bus.publish('dead-letters', [jsonRecord(message.key, letter)]);
    } catch (error) {
      logger.error(
        { err: error, webhook, message: describe(message) },
        'a dead letter cannot be kept; trying again',
      );
      this.#outbox.deadLetterFailed(message, now());
      return;
    }
    this.#outbox.deadLetterPublished(message);
    deliveries.attempts.inc({ webhook, outcome: 'given-up' });
    this.#deadLetters++;
    this.#lastDeadLetter = { at: now(), detail: letter.detail };
    logger.error(
      { webhook, message: describe(message), reason, problem },
      `a ${this.#channel.type} is given up; it is in the dead letters`,
    );
    await this.#save();
  }

  // ---- saving --------------------------------------------------------------------------------------------------------

  get #goneKey(): string {
    return `gone:${this.#channel.id}`;
  }

  get #destination(): string {
    return createHash('sha256').update(this.#channel.destination).digest('hex');
  }

  /** Saves what changed, all in one partition, since the parts of a change belong together. Tries until it works. */
  #save(): Promise<void> {
    return this.#oneSave(() => this.#saveIn(0, this.#outbox.takeChanges()));
  }

  async #saveIn(partition: number, changes: RoleStateChanges): Promise<void> {
    if (changes.size === 0) return;
    const { persist, state } = this.#options;
    await persist.run(
      `saving what is sent to ${this.#name}`,
      () => state.save(partition, changes),
      (error) => error instanceof FencedError,
    );
  }

  /** Moves what earlier versions saved in the partition of each alert into partition 0. */
  async #gather(): Promise<void> {
    const prefix = outboxKeys(this.#channel.id).notified('');
    const scattered = this.#options.state
      .read(prefix, (value) => value)
      .filter(({ partition }) => partition > 0)
      .map(({ partition, name, value }) => ({ partition, key: prefix + name, value }));
    await this.#saveIn(0, new Map(scattered.map(({ key, value }) => [key, value])));
    for (const partition of new Set(scattered.map((entry) => entry.partition))) {
      const left = scattered.filter((entry) => entry.partition === partition);
      await this.#saveIn(partition, new Map(left.map(({ key }) => [key, null])));
    }
  }
}

/** Names a message in logs and dead letters. */
function describe({ content }: Message): string {
  return content.kind === 'alert'
    ? `alert ${content.alert.id}, revision ${content.alert.revision}`
    : `digest of ${content.digest.messages} messages by ${content.digest.policy}`;
}

/** Value of the label `outcome`. */
function outcomeOf({ kind }: Delivery): string {
  return { delivered: 'delivered', retry: 'failed', rejected: 'refused', gone: 'gone' }[kind];
}
