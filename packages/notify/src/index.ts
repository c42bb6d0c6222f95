export type { Channel, ChannelContext, ChannelKind, ChannelMessage, ChannelSettings } from './channel.ts';
export type { Delivery, DeliveryFailure } from './delivery.ts';
export { channelKinds, createChannels, type Channels } from './channels/index.ts';
export {
  signWebhook,
  webhookMessage,
  type WebhookMessage,
  type WebhookSettings,
} from './channels/webhook.ts';
export { addToDigest, emptyDigest, type AlertDigest, type AlertEvent, type DigestCount } from './digest.ts';
export { proxyFromEnvironment, type ProxySettings } from './http/proxy.ts';
export { isPublicAddress, PrivateTargetError } from './http/target.ts';
