export {
  createWebhookSender,
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
export { isPublicAddress, PrivateTargetError } from './target.ts';
