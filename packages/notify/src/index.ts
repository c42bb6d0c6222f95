export {
  createWebhookSender,
  digestMessage,
  retryDelayMs,
  signWebhook,
  webhookMessage,
  type DeliveryOutcome,
  type WebhookEvent,
  type WebhookMessage,
  type WebhookReceiver,
  type WebhookSender,
  type WebhookSenderOptions,
} from './webhook.ts';
export { addToDigest, emptyDigest, type AlertDigest, type AlertEvent, type DigestCount } from './digest.ts';
export { proxyFor, proxyFromEnvironment, type ProxySettings } from './proxy.ts';
export { isPublicAddress, PrivateTargetError } from './target.ts';
