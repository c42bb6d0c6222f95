import { severities, type Alert, type Severity } from '@tripline/model';
import {
  addToDigest,
  emptyDigest,
  retryDelayMs,
  type AlertDigest,
  type AlertEvent,
  type DeliveryOutcome,
} from '@tripline/notify';
import type { RoleStateChanges } from './role-state.ts';

const minuteMs = 60_000;
export const defaultMaxPerMinute = 30;
export const defaultDigestMinutes = 1;
/** A message is tried for so long after it was queued; it is always tried once, however late. */
const messageAgeMaxMs = 24 * 3_600_000;
/** An alert whose last call is older than this when it comes (history replayed, a long outage) gets no message of its own. */
const alertAgeMaxMs = 24 * 3_600_000;
/** A message that is refused is tried so often: at once, and after about 1, 2 and 4 minutes. */
const refusalsMax = 4;
/** A receiver that answers 410 to so many different messages, and takes none in between, wants no more. */
const goneMax = 3;
/** Messages that wait for one receiver, at most, and their size; beyond either, alerts go into the digest. */
const waitingMax = 1_000;
const waitingBytesMax = 8 * 1024 * 1024;
/** What a receiver knows about an alert is remembered so long: longer than an episode goes without news. */
const rememberMs = 7 * 86_400_000;
/** And of so many alerts; beyond it, closed ones are forgotten first, the oldest first. */
const knownMax = 50_000;

/** A message on its way to the receiver. The receiver's answer to it concerns no other message. */
export interface Message {
  /** `alert:` and the alert's id, or `digest:` and the policy's. Of each there is one at a time. */
  key: string;
  content: { kind: 'alert'; event: AlertEvent; alert: Alert } | { kind: 'digest'; digest: AlertDigest };
  policy: string;
  /** Wall clock, ms. */
  queuedAt: number;
  /** How many ended without a delivery. */
  attempts: number;
  /** Wall clock, ms: when it may be tried next. */
  notBefore: number;
  /** Why it is not tried any more and goes to the dead letters. */
  dead?: { reason: 'webhook-refused' | 'webhook-given-up'; problem: string };
}

/** What a receiver knows about an alert. */
interface Known {
  /** The highest that it was notified of: a repeated or older revision is then no news. */
  severity: Severity;
  closed: boolean;
  /** Wall clock, ms. */
  at: number;
  /** Whose action named the receiver. Missing in what earlier versions saved. */
  policy?: string;
  /** The alert was only counted in digests so far. */
  digest?: true;
}

export interface OutboxOptions {
  receiverId: string;
  maxPerMinute?: number | undefined;
  digestMinutes?: number | undefined;
  /** 0 up to 1. */
  random: () => number;
}

/**
 * What one receiver is to be sent: decides which alerts are news, which get a message of their own and which are collected
 * into digests, what is sent next, and what becomes of a message that failed. No I/O and no clock.
 *
 * Bounded in everything that alerts can make many of: messages that wait (`waitingMax`, `waitingBytesMax`), one digest
 * collecting and one on its way per policy, alerts remembered (`knownMax`). Nothing is dropped at the first bound: what
 * does not fit is counted in the digest. At the last, an alert that was forgotten and grows is reported as raised again.
 */
export class Outbox {
  readonly #options: OutboxOptions;
  readonly #maxPerMinute: number;
  readonly #digestMs: number;

  /** Oldest news first. */
  readonly #open = new Map<string, Known>();
  readonly #closed = new Map<string, Known>();
  readonly #waiting = new Map<string, Message>();
  #waitingBytes = 0;
  readonly #collecting = new Map<string, AlertDigest>();
  readonly #inFlight = new Map<string, Message>();

  /** Wall clock, ms: messages admitted and attempts begun within the last minute, oldest first. */
  #admittedAt: number[] = [];
  #attemptsAt: number[] = [];
  /** The receiver asked for a pause until then. */
  #holdUntil = -Infinity;
  /** Messages that were answered with 410 since the last delivery. */
  readonly #goneBy = new Set<string>();
  #retryIsNext = false;

  /** Keys of what is not yet saved. */
  readonly #unsaved = new Set<string>();

  /** No more is sent: the receiver said that it is gone. What comes is still kept and counted, within the bounds. */
  gone = false;
  /** Alerts that were counted in digests since the start. */
  collected = 0;

  constructor(options: OutboxOptions) {
    this.#options = options;
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

  // ---- what comes in -------------------------------------------------------------------------------------------------

  /** Takes a state of an alert; `policy` is the first that wants this receiver notified of it, undefined if none does. */
  take(alert: Alert, policy: string | undefined, nowMs: number): void {
    const known = this.#open.get(alert.id);
    if (this.#closed.has(alert.id)) return;
    const key = `alert:${alert.id}`;
    const event = eventFor(alert, known, policy);
    const waits = this.#waiting.get(key);
    if (event === undefined) {
      // It only grew. A message that was not tried yet takes the newest state along.
      if (waits?.content.kind === 'alert' && waits.attempts === 0 && !this.#inFlight.has(key)) {
        if (alert.revision > waits.content.alert.revision)
          this.#put({ ...waits, content: { ...waits.content, alert } });
      }
      return;
    }
    const by = policy ?? known?.policy ?? 'unknown';
    const onlyCounted = event === 'closed' && known?.digest === true;
    const alone = waits !== undefined || (!onlyCounted && this.#mayGoAlone(alert, nowMs));
    if (alone) this.#queue(key, event, alert, by, nowMs);
    else this.#collect(event, alert, by, nowMs);
    const digest = !alone && (known === undefined || known.digest === true);
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
    this.#unsaved.add(this.#rateKey());
    return true;
  }

  #queue(key: string, event: AlertEvent, alert: Alert, policy: string, nowMs: number): void {
    const before = this.#waiting.get(key);
    const unheard =
      before?.content.kind === 'alert' && before.content.event === 'raised' && !this.#inFlight.has(key);
    this.#put({
      key,
      // The receiver has not heard of the alert yet, so this is still the beginning to it.
      content: { kind: 'alert', event: unheard && event === 'updated' ? 'raised' : event, alert },
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
    this.#unsaved.add(this.#digestKey(policy));
  }

  #put(message: Message): void {
    const before = this.#waiting.get(message.key);
    this.#waitingBytes += sizeOf(message) - (before ? sizeOf(before) : 0);
    this.#waiting.set(message.key, message);
    this.#unsaved.add(this.#messageKey(message.key));
  }

  #remember(alertId: string, known: Known): void {
    this.#open.delete(alertId);
    (known.closed ? this.#closed : this.#open).set(alertId, known);
    this.#unsaved.add(this.#knownKey(alertId));
  }

  #forget(nowMs: number): void {
    for (const alerts of [this.#closed, this.#open]) {
      for (const [id, known] of alerts) {
        const tooMany = this.#open.size + this.#closed.size > knownMax;
        if (!tooMany && nowMs - known.at <= rememberMs) break;
        alerts.delete(id);
        this.#unsaved.add(this.#knownKey(id));
      }
    }
  }

  // ---- what goes out -------------------------------------------------------------------------------------------------

  /**
   * Puts the digests whose time has come on their way. From then on they stay as they are, so that their ids do: save
   * before anything is sent.
   */
  sealDigests(nowMs: number): void {
    if (this.gone) return;
    for (const [policy, digest] of this.#collecting) {
      const key = `digest:${policy}`;
      if (nowMs - digest.from < this.#digestMs || this.#waiting.has(key)) continue;
      this.#collecting.delete(policy);
      this.#unsaved.add(this.#digestKey(policy));
      const content = { kind: 'digest' as const, digest };
      this.#put({ key, content, policy, queuedAt: nowMs, attempts: 0, notBefore: nowMs });
    }
  }

  /** The message to send now, which counts as under way until `delivered` or `failed`; undefined if none is due. */
  next(nowMs: number): Message | undefined {
    if (this.gone || nowMs < this.#holdUntil) return undefined;
    this.#attemptsAt = withinMinute(this.#attemptsAt, nowMs);
    if (this.#attemptsAt.length >= this.#maxPerMinute) return undefined;
    let fresh: Message | undefined;
    let retry: Message | undefined;
    for (const message of this.#waiting.values()) {
      if (message.dead || message.notBefore > nowMs || this.#inFlight.has(message.key)) continue;
      // Digests stand for the most, so they go first.
      if (message.attempts > 0) retry = !retry || message.notBefore < retry.notBefore ? message : retry;
      else if (!fresh || (message.content.kind === 'digest' && fresh.content.kind === 'alert'))
        fresh = message;
    }
    // In turn: neither do retries hold up new messages, nor new messages the retries.
    const found = this.#retryIsNext ? (retry ?? fresh) : (fresh ?? retry);
    if (!found) return undefined;
    this.#retryIsNext = found.attempts === 0;
    this.#attemptsAt.push(nowMs);
    this.#inFlight.set(found.key, found);
    return found;
  }

  /** Ms until `next`, `sealDigests` or `deadMessages` has something to do; Infinity if nothing will be without news. */
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
  failed(message: Message, outcome: Exclude<DeliveryOutcome, { kind: 'delivered' }>, nowMs: number): void {
    const { random } = this.#options;
    const transient = outcome.kind === 'failed' && outcome.transient;
    const attempts = message.attempts + 1;
    const retryAfterMs = outcome.kind === 'failed' ? outcome.retryAfterMs : undefined;
    const delayMs = retryDelayMs(
      attempts,
      { transient, ...(retryAfterMs !== undefined && { retryAfterMs }) },
      random,
    );
    if (outcome.kind === 'failed' && outcome.busy) this.#holdUntil = nowMs + delayMs;
    if (outcome.kind === 'gone') {
      this.#goneBy.add(message.key);
      if (this.#goneBy.size >= goneMax) this.gone = true;
    }
    this.#inFlight.delete(message.key);
    if (this.#waiting.get(message.key) !== message) return;
    const refused = !transient && attempts >= refusalsMax;
    const tooOld = transient && nowMs - message.queuedAt >= messageAgeMaxMs;
    this.#put({
      ...message,
      attempts,
      notBefore: refused || tooOld ? nowMs : nowMs + delayMs,
      ...((refused || tooOld) && {
        dead: {
          reason: refused ? ('webhook-refused' as const) : ('webhook-given-up' as const),
          problem: problemOf(outcome),
        },
      }),
    });
  }

  /** What goes to the dead letters now. */
  deadMessages(nowMs: number): Message[] {
    return [...this.#waiting.values()].filter((one) => one.dead && one.notBefore <= nowMs);
  }

  /** The dead letter is kept. */
  buried(message: Message): void {
    this.#finish(message);
  }

  /** The dead letter could not be kept: later again. */
  notBuried(message: Message, nowMs: number): void {
    message.notBefore = nowMs + minuteMs;
  }

  #finish(message: Message): void {
    this.#inFlight.delete(message.key);
    if (this.#waiting.get(message.key) !== message) return;
    this.#waiting.delete(message.key);
    this.#waitingBytes -= sizeOf(message);
    this.#unsaved.add(this.#messageKey(message.key));
  }

  // ---- what is kept --------------------------------------------------------------------------------------------------

  #knownKey(alertId: string): string {
    return knownPrefix(this.#options.receiverId) + alertId;
  }
  #messageKey(key: string): string {
    return `outbox:${this.#options.receiverId}:${key}`;
  }
  #digestKey(policy: string): string {
    return `digest:${this.#options.receiverId}:${policy}`;
  }

  #rateKey(): string {
    return `rate:${this.#options.receiverId}`;
  }

  /** What changed since the last call, to be saved in one step. */
  takeChanges(): RoleStateChanges {
    const changes = new Map<string, string | null>();
    for (const stateKey of this.#unsaved) {
      const value = this.#valueOf(stateKey);
      changes.set(stateKey, value === undefined ? null : JSON.stringify(value));
    }
    this.#unsaved.clear();
    return changes;
  }

  #valueOf(stateKey: string): unknown {
    const [kind, , ...rest] = stateKey.split(':');
    const name = rest.join(':');
    if (kind === 'told') return this.#open.get(name) ?? this.#closed.get(name);
    if (kind === 'outbox') return this.#waiting.get(name);
    return kind === 'digest' ? this.#collecting.get(name) : this.#admittedAt;
  }

  /** Takes up what was saved; `read` gives the decoded values under a prefix, with the rest of their keys. */
  restore(
    read: <Value>(
      prefix: string,
      decode: (value: string, name: string) => Value,
    ) => { name: string; value: Value }[],
    nowMs: number,
  ): void {
    const known = read(this.#knownKey(''), decodeKnown).sort((a, b) => a.value.at - b.value.at);
    for (const { name, value } of known) (value.closed ? this.#closed : this.#open).set(name, value);
    const messages = read(this.#messageKey(''), decodeMessage).map(({ value }) => value);
    for (const message of messages.sort((a, b) => a.queuedAt - b.queuedAt)) {
      this.#waiting.set(message.key, message);
      this.#waitingBytes += sizeOf(message);
    }
    for (const { name, value } of read(this.#digestKey(''), decodeDigest)) this.#collecting.set(name, value);
    // A restart is no fresh minute.
    const rates = read(this.#rateKey(), decodeRate).filter(({ name }) => name === '');
    this.#admittedAt = withinMinute(
      rates.flatMap(({ value }) => value),
      nowMs,
    );
  }
}

/** Begins the keys of what a receiver knows; the word is the one of earlier versions, which must be found after an upgrade. */
export function knownPrefix(receiverId: string): string {
  return `told:${receiverId}:`;
}

/** Times of the last minute; a clock that was set back leaves some in the future, which do not count. */
function withinMinute(times: readonly number[], nowMs: number): number[] {
  return times.filter((at) => at > nowMs - minuteMs && at <= nowMs);
}

/** How the receiver is to hear of this state of the alert; undefined if it is no news. */
function eventFor(
  alert: Alert,
  known: Known | undefined,
  policy: string | undefined,
): AlertEvent | undefined {
  // Whoever heard of the beginning hears of the end, whatever the policies say by then.
  if (known && alert.status === 'closed') return 'closed';
  if (policy === undefined) return undefined;
  if (!known) return alert.status === 'closed' ? 'closed' : 'raised';
  const worse = severities.indexOf(alert.severity) > severities.indexOf(known.severity);
  return worse ? 'updated' : undefined;
}

/** What went wrong, with the receiver's own words where it gave some. */
export function problemOf(outcome: Exclude<DeliveryOutcome, { kind: 'delivered' }>): string {
  return outcome.answer === undefined
    ? outcome.problem
    : `${outcome.problem}: ${JSON.stringify(outcome.answer)}`;
}

const sizes = new WeakMap<Message['content'], number>();

/** Characters of its content as JSON; remembered, since a message is asked more than once. */
function sizeOf(message: Message): number {
  const known = sizes.get(message.content);
  if (known !== undefined) return known;
  const size = JSON.stringify(message.content).length;
  sizes.set(message.content, size);
  return size;
}

// The decoders throw if the value is not what is saved here, as another version or a damaged store may have left it.

function decodeKnown(value: string): Known {
  const known = JSON.parse(value) as Known;
  if (!severities.includes(known.severity) || typeof known.closed !== 'boolean' || !Number.isFinite(known.at))
    throw new Error('it is no note of what a webhook was notified of');
  return known;
}

function decodeMessage(value: string, name: string): Message {
  const message = JSON.parse(value) as Message;
  const { content, queuedAt, attempts, notBefore } = message;
  const isWhole =
    message.key === name &&
    [queuedAt, attempts, notBefore].every(Number.isFinite) &&
    (content.kind === 'alert' ? typeof content.alert.id === 'string' : isDigest(content.digest));
  if (!isWhole) throw new Error('it is no message to a webhook as this version writes them');
  return message;
}

function decodeDigest(value: string): AlertDigest {
  const digest = JSON.parse(value) as AlertDigest;
  if (!isDigest(digest)) throw new Error('it is no digest as this version writes them');
  return digest;
}

function decodeRate(value: string): number[] {
  const times = JSON.parse(value) as number[];
  if (!Array.isArray(times) || !times.every(Number.isFinite)) throw new Error('it is no list of times');
  return times;
}

function isDigest(digest: AlertDigest): boolean {
  return (
    typeof digest.policy === 'string' &&
    [digest.from, digest.to, digest.messages].every(Number.isFinite) &&
    Array.isArray(digest.counts) &&
    Array.isArray(digest.alerts)
  );
}
