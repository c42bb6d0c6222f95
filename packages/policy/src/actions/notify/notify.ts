import { z } from 'zod';
import type { NotificationKind } from '../action.ts';
import { actionId } from '../fields.ts';

const schema = z
  .strictObject({
    type: z.literal('notify'),
    id: actionId,
    webhook: z.string().min(1).describe('Id of a webhook of the configuration.'),
  })
  .describe('Sends the alert to a webhook.');

export type NotifyAction = z.infer<typeof schema>;

/** Sends the alert to a channel. */
export const notify: NotificationKind<NotifyAction> = {
  kind: 'notification',
  type: 'notify',
  schema,
  documentation: { inKong: '', settings: '`webhook`: id of a webhook of the configuration' },
  channelOf: ({ webhook }) => webhook,
};
