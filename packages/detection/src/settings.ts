import type { AlertType } from '@tripline/model';
import { z } from 'zod';
import { sensitivities } from './baseline/sensitivity.ts';

const instant = z.iso
  .datetime({ offset: true, error: 'allowed: an ISO 8601 time with zone, such as "2026-03-01T22:00:00Z"' })
  .describe('ISO 8601 time with zone, such as "2026-03-01T22:00:00Z" or "2026-03-01T23:00:00+01:00".');

const patterns = z.array(z.string().min(1).max(200)).min(1).max(100);

/** When and why an exception holds. */
const announced = {
  from: instant,
  until: instant,
  owner: z.string().min(1).describe('Who asked for it.'),
  comment: z.string().min(1).describe('Why.'),
};

const inOrder = (exception: { from: string; until: string }): boolean =>
  Date.parse(exception.from) < Date.parse(exception.until);
const orderProblem = { message: 'until must be later than from', path: ['until'] };

export const exceptionSchema = z
  .strictObject({
    consumers: patterns.describe(
      'Patterns of which any may match the id, username or custom id, or the address where there is no consumer; * stands ' +
        'for any run, ? for one character.',
    ),
    ...announced,
  })
  .refine(inOrder, orderProblem)
  .describe('An announced window, such as a load test: calls inside are neither judged nor learnt from.');

export const endpointExceptionSchema = z
  .strictObject({
    endpoints: patterns.describe(
      'Patterns of which any may match service, method and path template, "accounts POST /login"; * stands for any run, ' +
        '? for one character.',
    ),
    ...announced,
  })
  .refine(inOrder, orderProblem)
  .describe('An announced window, such as tests with wrong passwords: it is neither judged nor learnt from.');

/** The settings of every detector. */
const howItJudges = {
  enabled: z.boolean().default(true),
  dryRun: z
    .boolean()
    .default(false)
    .describe(
      'Only try it: its alerts are published and kept, marked `dryRun`, and every policy treats them as a dry run.',
    ),
  sensitivity: z
    .enum(sensitivities)
    .default('normal')
    .describe(
      '`low` allows about twice as much as `normal` before it alerts, `high` about half; the README of packages/detection has the numbers.',
    ),
};

const scopeSchema = z
  .strictObject({
    consumers: patterns.optional().describe('As in exceptions.'),
    services: patterns.optional(),
    routes: patterns.optional(),
  })
  .describe(
    'What the detector looks at; all of those given must match. Other calls are neither judged nor learnt from.',
  );

/** Settings of a detector that judges the calls of actors. */
export const actorSettings = z
  .strictObject({
    ...howItJudges,
    scope: scopeSchema.optional(),
    exceptions: z.array(exceptionSchema).max(1_000).default([]),
  })
  .prefault({});

/** Settings of a detector that judges endpoints only. */
export const endpointSettings = z
  .strictObject({
    ...howItJudges,
    scope: z
      .strictObject({ endpoints: patterns })
      .optional()
      .describe('What the detector looks at, as patterns of endpoints in exceptions.'),
    exceptions: z.array(endpointExceptionSchema).max(1_000).default([]),
  })
  .prefault({});

export type Exception = z.infer<typeof exceptionSchema>;
export type Scope = z.infer<typeof scopeSchema>;
export type EndpointException = z.infer<typeof endpointExceptionSchema>;
export type ActorSettings = z.infer<typeof actorSettings>;
export type EndpointSettings = z.infer<typeof endpointSettings>;

/** Settings of any detector. */
export type DetectorSettings = ActorSettings | EndpointSettings;

/** The settings of a registered detector, by its alert type; those of a detector that is not registered are disabled. */
export type SettingsOf = (alertType: AlertType) => DetectorSettings;

/** The settings of a detector that judges the calls of actors. Throws on those of another one: its schema is `actorSettings`. */
export function asActorSettings(settings: DetectorSettings): ActorSettings {
  if (settings.scope && 'endpoints' in settings.scope)
    throw new TypeError('a profile of actors needs settings with the schema `actorSettings`');
  return settings as ActorSettings;
}
