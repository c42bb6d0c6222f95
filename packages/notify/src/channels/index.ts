import type { Channel, ChannelContext, ChannelKind, ChannelSettings } from '../channel.ts';
import { createHttpPoster, type HttpPosterOptions } from '../http/post.ts';
import { webhook } from './webhook.ts';

/** All kinds of channels. */
export const channelKinds: readonly ChannelKind[] = [webhook];

export interface Channels {
  list: readonly Channel[];
  /** Ends all connections. */
  close(): Promise<void>;
}

/** Makes the channels of these settings, which share their connections. Throws if there is no such type. */
export function createChannels(
  settings: readonly ChannelSettings[],
  options: HttpPosterOptions,
  kinds: readonly ChannelKind[] = channelKinds,
): Channels {
  const http = createHttpPoster(options);
  const context: ChannelContext = { now: options.now, http };
  const list = settings.map((one) => {
    const kind = kinds.find(({ type }) => type === one.type);
    if (kind) return kind.create(one, context);
    const allowed = kinds.map(({ type }) => type).join(', ');
    throw new Error(`channel ${one.id}: there is no type ${one.type}; allowed: ${allowed}`);
  });
  return { list, close: () => http.close() };
}
