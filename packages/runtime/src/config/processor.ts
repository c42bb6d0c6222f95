import { z } from 'zod';

/** What the processor remembers. */
export const processorSchema = z
  .strictObject({
    retention: z
      .strictObject({
        actorDays: z
          .int()
          .min(1)
          .max(3_650)
          .default(35)
          .describe(
            'Actors, services and endpoints without a call for so many days are forgotten, and learnt anew when they come again. ' +
              'With less than 32, traffic that peaks on the first of each month is news every time.',
          ),
      })
      .prefault({}),
    maxActorsInMemory: z
      .int()
      .min(1_000)
      .default(100_000)
      .describe(
        'Actors that one process keeps in memory, 1 to 4 kB each; all others are loaded from the state store when they call.',
      ),
  })
  .prefault({});
