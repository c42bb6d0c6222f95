import { severities, type Alert } from '@tripline/model';
import {
  addToDigest,
  emptyDigest,
  type AlertDigest,
  type AlertEvent,
  type DeliveryFailure,
} from '@tripline/notify';
import type { RoleStateChanges } from '../role-state.ts';
import { retryDelayMs } from './retry-delay.ts';
import {
  decodeDigest,
  decodeMessage,
  decodeNotified,
  decodeRate,
  outboxKeys,
  type Message,
  type NotifiedAlert,
  type OutboxKeys,
} from './saved-outbox.ts';

/** How long and how many alerts are remembered that a channel was notified of, so that they are no news again. */
export interface NotificationRetention {
  /** Longer than an episode goes without news. */
  notifiedMs: number;
  /** Alerts at most, per channel; beyond it closed ones are forgotten first, the oldest first. */
  notifiedMax: number;
}

export const defaultNotificationRetention: NotificationRetention = {
  notifiedMs: 7 * 86_400_000,
  notifiedMax: 50_000,
};

const minuteMs = 60_000;
const defaultMaxPerMinute = 30;
const defaultDigestMinutes = 1;
/** A message is tried for this long after it was queued; it is always tried once, however late. */
const messageAgeMaxMs = 24 * 3_600_000;
/** An alert whose last call is older than this when it comes (history replayed, a long outage) gets no message of its own. */
const alertAgeMaxMs = 24 * 3_600_000;
/** Attempts with a message that is rejected: at once, and after about 1, 2 and 4 minutes. */
const rejectionsMax = 4;
/** A receiver that says of this many different messages that it is gone, and takes none in between, gets no more. */
const goneMax = 3;
/** Messages that wait for one receiver, at most, and their size; beyond either, alerts go into the digest. */
const waitingMax = 1_000;
const waitingBytesMax = 8 * 1024 * 1024;

export interface OutboxOptions {
  /** Kind of the channel; begins the reasons of dead letters. */
  channelType: string;
  channelId: string;
  retention: NotificationRetention;
  maxPerMinute?: number | undefined;
  digestMinutes?: number | undefined;
  /** 0 up to 1. */
  random: () => number;
}

/**
 * The messages to one channel: decides which alerts are news, which get a message of their own and which are collected into
 * digests, which message is sent next, and when a failed one is tried again. No I/O and no clock.
 *
 * Everything is bounded that alerts can make many of. Messages beyond `waitingMax` and `waitingBytesMax` are counted in a
 * digest; there is one digest collecting and one on its way per policy. Of alerts beyond the retention the oldest are
 * forgotten; if such an alert grows, it is reported as raised again.
 */
export class Outbox {
  readonly #options: OutboxOptions;
  readonly #maxPerMinute: number;
  readonly #digestMs: number;

  readonly #keys: OutboxKeys;

  /** Alerts that the receiver was notified of, by id, the oldest first. */
  readonly #open = new Map<string, NotifiedAlert>();
  readonly #closed = new Map<string, NotifiedAlert>();
  /** Messages by key. */
  readonly #waiting = new Map<string, Message>();
  #waitingBytes = 0;
  readonly #collecting = new Map<string, AlertDigest>();
  readonly #inFlight = new Map<string, Message>();

  /** Wall clock, ms: messages admitted and attempts begun within the last minute, oldest first. */
  #admittedAt: number[] = [];
  #attemptsAt: number[] = [];
  /** The receiver asked for a pause until then. */
  #holdUntil = -Infinity;
  /** Keys of messages that were answered with `gone` since the last delivery. */
  readonly #goneBy = new Set<string>();
  #retryIsNext = false;

  /** How to get the values that are not yet saved, by state key; undefined deletes the key. */
  readonly #unsaved = new Map<string, () => unknown>();

  /** The receiver said that it is gone: nothing is sent. Further alerts are still kept and counted, within the bounds. */
  gone = false;
  /** Alerts that were counted in digests since the start. */
  collected = 0;

  constructor(options: OutboxOptions) {
    this.#options = options;
    this.#keys = outboxKeys(options.channelId);
    this.#maxPerMinute = options.maxPerMinute ?? defaultMaxPerMinute;
    this.#digestMs = (options.digestMinutes ?? defaultDigestMinutes) * minuteMs;
  }

  /** How many messages wait, digests among them. */
  get waiting(): number {
    return this.#waiting.size;
  }

  get inFlight(): number {
    return this.#inFlight.size;
  }

  /** Messages that are counted in digests which are not on their way yet. */
  get collecting(): number {
    return [...this.#collecting.values()].reduce((sum, digest) => sum + digest.messages, 0);
  }

  // ---- taking alerts -------------------------------------------------------------------------------------------------

  /** Takes a state of an alert; `policy` is the first one that notifies this channel of it, undefined if none does. */
  take(alert: Alert, policy: string | undefined, nowMs: number): void {
    const notified = this.#open.get(alert.id);
    if (this.#closed.has(alert.id)) return;
    const key = `alert:${alert.id}`;
    const event = eventFor(alert, notified, policy);
    const waits = this.#waiting.get(key);
    if (event === undefined) {
      // It only grew. A message that was not tried yet takes the newest state along.
      if (waits?.content.kind === 'alert' && waits.attempts === 0 && !this.#inFlight.has(key)) {
        if (alert.revision > waits.content.alert.revision)
          this.#put({ ...waits, content: { ...waits.content, alert } });
      }
      return;
    }
    const by = policy ?? notified?.policy ?? 'unknown';
    const onlyCounted = event === 'closed' && notified?.digest === true;
    const alone = waits !== undefined || (!onlyCounted && this.#mayGoAlone(alert, nowMs));
    if (alone) this.#queue(key, event, alert, by, nowMs);
    else this.#collect(event, alert, by, nowMs);
    const digest = !alone && (notified === undefined || notified.digest === true);
    this.#remember(alert.id, {
      severity: alert.severity,
      closed: event === 'closed',
      at: nowMs,
      policy: by,
      ...(digest && { digest: true }),
    });
    this.#forget(nowMs);
  }

  #mayGoAlone(alert: Alert, nowMs: number): boolean {
    if (nowMs - alert.lastSeenAt > alertAgeMaxMs) return false;
    if (this.#waiting.size >= waitingMax || this.#waitingBytes >= waitingBytesMax) return false;
    this.#admittedAt = withinMinute(this.#admittedAt, nowMs);
    // Digests are messages too.
    const room = this.#maxPerMinute - this.#admittedAt.length - this.#collecting.size;
    if (room <= 0) return false;
    if ([...this.#waiting.values()].filter((one) => one.content.kind === 'digest').length >= room)
      return false;
    this.#admittedAt.push(nowMs);
    this.#unsaved.set(this.#keys.rate(), () => this.#admittedAt);
    return true;
  }

  #queue(key: string, event: AlertEvent, alert: Alert, policy: string, nowMs: number): void {
    const before = this.#waiting.get(key);
    const isUnsent =
      before?.content.kind === 'alert' && before.content.event === 'raised' && !this.#inFlight.has(key);
    this.#put({
      key,
      // The receiver was not notified of the alert yet, so that to the receiver it is raised now.
      content: { kind: 'alert', event: isUnsent && event === 'updated' ? 'raised' : event, alert },
      policy,
      queuedAt: nowMs,
      attempts: 0,
      notBefore: before?.notBefore ?? nowMs,
    });
  }

  #collect(event: AlertEvent, alert: Alert, policy: string, nowMs: number): void {
    const digest = this.#collecting.get(policy) ?? emptyDigest(policy, nowMs);
    addToDigest(digest, event, alert, nowMs);
    this.collected++;
    this.#collecting.set(policy, digest);
    this.#unsaved.set(this.#keys.digest(policy), () => this.#collecting.get(policy));
  }

  #put(message: Message): void {
    const before = this.#waiting.get(message.key);
    this.#waitingBytes += sizeOf(message) - (before ? sizeOf(before) : 0);
    this.#waiting.set(message.key, message);
    this.#unsaved.set(this.#keys.message(message.key), () => this.#waiting.get(message.key));
  }

  #remember(alertId: string, notified: NotifiedAlert): void {
    this.#open.delete(alertId);
    (notified.closed ? this.#closed : this.#open).set(alertId, notified);
    this.#markNotified(alertId);
  }

  #forget(nowMs: number): void {
    const { notifiedMs, notifiedMax } = this.#options.retention;
    for (const alerts of [this.#closed, this.#open]) {
      for (const [id, { at }] of alerts) {
        const isExcess = this.#open.size + this.#closed.size > notifiedMax;
        if (!isExcess && nowMs - at <= notifiedMs) break;
        alerts.delete(id);
        this.#markNotified(id);
      }
    }
  }

  // ---- sending -------------------------------------------------------------------------------------------------------

  /**
   * Queues the digests whose time has come. From then on they do not change, so that their ids do not either: they must be
   * saved before anything is sent.
   */
  sealDigests(nowMs: number): void {
    if (this.gone) return;
    for (const [policy, digest] of this.#collecting) {
      const key = `digest:${policy}`;
      if (nowMs - digest.from < this.#digestMs || this.#waiting.has(key)) continue;
      this.#collecting.delete(policy);
      this.#unsaved.set(this.#keys.digest(policy), () => this.#collecting.get(policy));
      const content = { kind: 'digest' as const, digest };
      this.#put({ key, content, policy, queuedAt: nowMs, attempts: 0, notBefore: nowMs });
    }
  }

  /** The message to send now; undefined if none is due. It is in flight until `delivered` or `failed` is called. */
  next(nowMs: number): Message | undefined {
    if (this.gone || nowMs < this.#holdUntil) return undefined;
    this.#attemptsAt = withinMinute(this.#attemptsAt, nowMs);
    if (this.#attemptsAt.length >= this.#maxPerMinute) return undefined;
    let fresh: Message | undefined;
    let retry: Message | undefined;
    for (const message of this.#waiting.values()) {
      if (message.dead || message.notBefore > nowMs || this.#inFlight.has(message.key)) continue;
      // Digests stand for the most messages, so they come first.
      if (message.attempts > 0) retry = !retry || message.notBefore < retry.notBefore ? message : retry;
      else if (!fresh || (message.content.kind === 'digest' && fresh.content.kind === 'alert'))
        fresh = message;
    }
    // Retries and new messages take turns, so that neither holds up the other.
    const found = this.#retryIsNext ? (retry ?? fresh) : (fresh ?? retry);
    if (!found) return undefined;
    this.#retryIsNext = found.attempts === 0;
    this.#attemptsAt.push(nowMs);
    this.#inFlight.set(found.key, found);
    return found;
  }

  /** Ms until `next`, `sealDigests` or `deadMessages` has something to do; Infinity: nothing until another alert comes. */
  dueInMs(nowMs: number): number {
    const attemptsAt = withinMinute(this.#attemptsAt, nowMs);
    const freeAt = attemptsAt.length >= this.#maxPerMinute ? attemptsAt[0]! + minuteMs : -Infinity;
    const sendAt = this.gone ? Infinity : Math.max(freeAt, this.#holdUntil);
    let dueAt = Infinity;
    for (const message of this.#waiting.values()) {
      if (this.#inFlight.has(message.key)) continue;
      dueAt = Math.min(dueAt, message.dead ? message.notBefore : Math.max(sendAt, message.notBefore));
    }
    for (const [policy, digest] of this.gone ? [] : this.#collecting) {
      if (!this.#waiting.has(`digest:${policy}`)) dueAt = Math.min(dueAt, digest.from + this.#digestMs);
    }
    return Math.max(0, dueAt - nowMs);
  }

  delivered(message: Message): void {
    this.#goneBy.clear();
    this.#finish(message);
  }

  /** Decides when the message is tried again, or that it is dead. A newer state of its alert may have taken its place. */
  failed(message: Message, failure: DeliveryFailure, nowMs: number): void {
    const attempts = message.attempts + 1;
    const transient = failure.kind === 'retry';
    const retryAfterMs = failure.kind === 'gone' ? undefined : failure.retryAfterMs;
    const delayMs = retryDelayMs(attempts, { transient, retryAfterMs }, this.#options.random);
    if (failure.kind === 'retry' && failure.pauseAll) this.#holdUntil = nowMs + delayMs;
    if (failure.kind === 'gone') {
      this.#goneBy.add(message.key);
      if (this.#goneBy.size >= goneMax) this.gone = true;
    }
    this.#inFlight.delete(message.key);
    if (this.#waiting.get(message.key) !== message) return;
    const isRejected = !transient && attempts >= rejectionsMax;
    const isTooOld = transient && nowMs - message.queuedAt >= messageAgeMaxMs;
    const isDead = isRejected || isTooOld;
    const reason = `${this.#options.channelType}-${isRejected ? 'refused' : 'given-up'}`;
    this.#put({
      ...message,
      attempts,
      notBefore: isDead ? nowMs : nowMs + delayMs,
      ...(isDead && { dead: { reason, problem: problemOf(failure) } }),
    });
  }

  /** The messages that go to the dead letters now. */
  deadMessages(nowMs: number): Message[] {
    return [...this.#waiting.values()].filter((one) => one.dead && one.notBefore <= nowMs);
  }

  /** Removes a message whose dead letter is published. */
  deadLetterPublished(message: Message): void {
    this.#finish(message);
  }

  /** Keeps a message whose dead letter could not be published, for another try in a minute. */
  deadLetterFailed(message: Message, nowMs: number): void {
    message.notBefore = nowMs + minuteMs;
  }

  #finish(message: Message): void {
    this.#inFlight.delete(message.key);
    if (this.#waiting.get(message.key) !== message) return;
    this.#waiting.delete(message.key);
    this.#waitingBytes -= sizeOf(message);
    this.#unsaved.set(this.#keys.message(message.key), () => this.#waiting.get(message.key));
  }

  // ---- saving --------------------------------------------------------------------------------------------------------

  /** Returns what changed since the last call, to be saved in one step. */
  takeChanges(): RoleStateChanges {
    const changes = new Map<string, string | null>();
    for (const [stateKey, valueOf] of this.#unsaved) {
      const value = valueOf();
      changes.set(stateKey, value === undefined ? null : JSON.stringify(value));
    }
    this.#unsaved.clear();
    return changes;
  }

  #markNotified(alertId: string): void {
    this.#unsaved.set(
      this.#keys.notified(alertId),
      () => this.#open.get(alertId) ?? this.#closed.get(alertId),
    );
  }

  /** Restores what was saved; `read` returns the decoded values under a prefix, with the rest of their keys. */
  restore(
    read: <Value>(
      prefix: string,
      decode: (value: string, name: string) => Value,
    ) => { name: string; value: Value }[],
    nowMs: number,
  ): void {
    const notified = read(this.#keys.notified(''), decodeNotified).sort((a, b) => a.value.at - b.value.at);
    for (const { name, value } of notified) (value.closed ? this.#closed : this.#open).set(name, value);
    const messages = read(this.#keys.message(''), decodeMessage).map(({ value }) => value);
    for (const message of messages.sort((a, b) => a.queuedAt - b.queuedAt)) {
      this.#waiting.set(message.key, message);
      this.#waitingBytes += sizeOf(message);
    }
    for (const { name, value } of read(this.#keys.digest(''), decodeDigest))
      this.#collecting.set(name, value);
    // The messages of the last minute count after a restart too.
    const rates = read(this.#keys.rate(), decodeRate).filter(({ name }) => name === '');
    this.#admittedAt = withinMinute(
      rates.flatMap(({ value }) => value),
      nowMs,
    );
  }
}

/** Times of the last minute; a clock that was set back leaves some in the future, which do not count. */
function withinMinute(times: readonly number[], nowMs: number): number[] {
  return times.filter((at) => at > nowMs - minuteMs && at <= nowMs);
}

/** What this state of the alert is to the receiver; undefined if it is no news. */
function eventFor(
  alert: Alert,
  notified: NotifiedAlert | undefined,
  policy: string | undefined,
): AlertEvent | undefined {
  // A receiver that was notified of the beginning is notified of the end, even if no policy says so any more.
  if (notified && alert.status === 'closed') return 'closed';
  if (policy === undefined) return undefined;
  if (!notified) return alert.status === 'closed' ? 'closed' : 'raised';
  const worse = severities.indexOf(alert.severity) > severities.indexOf(notified.severity);
  return worse ? 'updated' : undefined;
}

/** The problem in words, with the receiver's answer if there was one. */
export function problemOf({ problem, answer }: DeliveryFailure): string {
  return answer === undefined ? problem : `${problem}: ${JSON.stringify(answer)}`;
}

const sizes = new WeakMap<Message['content'], number>();

/** Characters of the content as JSON; cached, since it is needed several times. */
function sizeOf(message: Message): number {
  const known = sizes.get(message.content);
  if (known !== undefined) return known;
  const size = JSON.stringify(message.content).length;
  sizes.set(message.content, size);
  return size;
}
