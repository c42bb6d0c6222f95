import { z } from 'zod';
import { httpUrl } from './values.ts';

/** Receivers of alerts. */
export const webhooksSchema = z
  .array(
    z.strictObject({
      id: z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'allowed: 1 to 63 of a-z, 0-9 and -'),
      url: httpUrl,
      secret: z
        .string()
        .min(16)
        .describe('Standard Webhooks secret, whsec_ and base64, or any text of 16 or more.'),
      allowPrivate: z.boolean().default(false).describe('Allow private, loopback and link-local addresses.'),
      maxPerMinute: z
        .int()
        .min(1)
        .max(6_000)
        .default(30)
        .describe(
          'Messages per minute at most, retries included. Alerts above it are collected, and one digest per policy is sent.',
        ),
      digestMinutes: z
        .int()
        .min(1)
        .max(1_440)
        .default(1)
        .describe('How often a digest is sent while there is something to collect.'),
    }),
  )
  .default([])
  .refine((list) => new Set(list.map((one) => one.id)).size === list.length, {
    message: 'two webhooks have the same id',
  });
