import type { Alert } from '@tripline/model';
import type { Delivery } from './delivery.ts';
import type { AlertDigest, AlertEvent } from './digest.ts';
import type { HttpPoster } from './http/post.ts';

/** What is to be delivered: one alert, or a digest that stands for many messages. The same at every attempt. */
export type ChannelMessage =
  { kind: 'alert'; event: AlertEvent; alert: Alert } | { kind: 'digest'; digest: AlertDigest };

/** Where people are notified of alerts. Each file in `channels/` is one kind of it. */
export interface Channel {
  /** Kind of the channel, such as `webhook`. */
  readonly type: string;
  /** Name that policies give; unique among the channels of all types. */
  readonly id: string;
  /** Messages per minute at most, retries included. */
  readonly maxPerMinute?: number | undefined;
  /** How often a digest is sent while there are alerts to collect, in minutes. */
  readonly digestMinutes?: number | undefined;
  /** Another text means another receiver: one that was gone is tried again. May hold a secret, so only its hash is kept. */
  readonly destination: string;
  /** Host of the proxy that it is reached through. */
  readonly proxyHost?: string | undefined;
  /** Makes one attempt to deliver. Never rejects. `signal` ends it early. */
  send(message: ChannelMessage, signal?: AbortSignal): Promise<Delivery>;
}

/** Settings that every channel has. */
export interface ChannelSettings {
  type: string;
  /** Name that policies give. */
  id: string;
  /** Messages per minute at most, retries included; alerts above it are collected into digests. Default 30. */
  maxPerMinute?: number | undefined;
  /** A digest is sent this often, in minutes, while there are alerts to collect. Default 1. */
  digestMinutes?: number | undefined;
}

/** What channels are made with. */
export interface ChannelContext {
  /** Wall clock, ms. */
  now: () => number;
  http: HttpPoster;
}

export interface ChannelKind<Settings extends ChannelSettings = ChannelSettings> {
  type: Settings['type'];
  create(settings: Settings, context: ChannelContext): Channel;
}
