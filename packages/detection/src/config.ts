import { z } from 'zod';

const instant = z.iso
  .datetime({ offset: true, error: 'allowed: an ISO 8601 time with zone, such as "2026-03-01T22:00:00Z"' })
  .describe('ISO 8601 time with zone, such as "2026-03-01T22:00:00Z" or "2026-03-01T23:00:00+01:00".');

export const exceptionSchema = z
  .strictObject({
    consumers: z
      .array(z.string().min(1).max(200))
      .min(1)
      .max(100)
      .describe(
        'Patterns of which any may match the id, username or custom id; * stands for any run, ? for one character.',
      ),
    from: instant,
    until: instant,
    owner: z.string().min(1).describe('Who asked for it.'),
    comment: z.string().min(1).describe('Why.'),
  })
  .refine((exception) => Date.parse(exception.from) < Date.parse(exception.until), {
    message: 'until must be later than from',
    path: ['until'],
  })
  .describe('An announced window, such as a load test: calls inside are neither judged nor learnt from.');

export const detectionConfigSchema = z
  .strictObject({
    requestSpike: z
      .strictObject({
        enabled: z.boolean().default(true),
        exceptions: z.array(exceptionSchema).max(1_000).default([]),
      })
      .prefault({}),
  })
  .describe('What the detectors look for.');

export type Exception = z.infer<typeof exceptionSchema>;
export type DetectionConfig = z.infer<typeof detectionConfigSchema>;
