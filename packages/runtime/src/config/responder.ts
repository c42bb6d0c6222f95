import { z } from 'zod';

const days = z.int().min(1).max(3_650);

/** How long the responder remembers what is over. */
export const responderSchema = z
  .strictObject({
    retention: z
      .strictObject({
        endedDays: days
          .default(7)
          .describe('Ended responses are remembered this long after their alert was last received.'),
        endedMax: z
          .int()
          .min(100)
          .max(1_000_000)
          .default(10_000)
          .describe('Ended responses at most, lifted ones and dry runs not counted.'),
        dryRunsMax: z
          .int()
          .min(100)
          .max(1_000_000)
          .default(10_000)
          .describe('Decisions of dry runs at most.'),
        liftedDays: days
          .default(365)
          .describe('Lifted responses are remembered this long if their alert is never received again.'),
        notifiedAlertDays: days
          .default(7)
          .describe(
            'Alerts that a webhook was notified of are remembered this long: longer than an episode goes without calls.',
          ),
        notifiedAlertsMax: z
          .int()
          .min(1_000)
          .max(1_000_000)
          .default(50_000)
          .describe(
            'Alerts that a webhook was notified of, at most, per webhook; about 500 bytes of memory each.',
          ),
      })
      .prefault({})
      .describe(
        'How long the responder remembers what is over, so that the same alert does not start a response or a message again.',
      ),
  })
  .prefault({});
