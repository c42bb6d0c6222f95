import { z } from 'zod';

/** Name of a policy or an action. */
export const name = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'allowed: 1 to 63 of a-z, 0-9 and -, not beginning with -');

/** Field `id` of every action. */
export const actionId = name
  .optional()
  .describe(
    'Name of the action, unique in its policy. Left out: its type, and for the second without one of this type "block-2". ' +
      'An alert gets one response per action, whatever else of the policy changes.',
  );

/** Field `duration` of every action that is in force for a while. */
export const duration = z
  .string()
  .regex(
    /^(permanent|[1-9][0-9]*(s|m|h|d))$/,
    'allowed: a number with s, m, h or d, such as "15m", or "permanent"',
  )
  .describe('How long it stays in force: "90s", "15m", "2h", "7d" or "permanent".');
