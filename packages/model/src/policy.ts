import { z } from 'zod';
import { alertTypeShape, severities } from './alert.ts';

const durationPattern = /^([1-9][0-9]*)(s|m|h|d)$/;
const unitMs = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** `"90s"`, `"15m"`, `"2h"`, `"7d"` in ms; null for `"permanent"`. The text must have passed the schema. */
export function durationMs(text: string): number | null {
  const found = durationPattern.exec(text);
  return found ? Number(found[1]) * unitMs[found[2] as keyof typeof unitMs] : null;
}

const duration = z
  .string()
  .regex(
    /^(permanent|[1-9][0-9]*(s|m|h|d))$/,
    'allowed: a number with s, m, h or d, such as "15m", or "permanent"',
  )
  .describe('How long it stays in force: "90s", "15m", "2h", "7d" or "permanent".');

const globs = z
  .union([z.string().min(1), z.array(z.string().min(1)).min(1)])
  .describe('One pattern or a list of which any may match; * stands for any run of characters, ? for one.');

const networks = z
  .union([z.string(), z.array(z.string()).min(1)])
  .describe(
    'Addresses or CIDR networks, such as "203.0.113.0/24" or "2001:db8::/32"; any source of the alert may match.',
  );

const alertType = z.string().regex(alertTypeShape, 'allowed: a type of alert, such as "request-spike"');

const matchShape = {
  type: z
    .union([alertType, z.array(alertType).min(1)])
    .optional()
    .describe('Alert type, or any of a list.'),
  severityAtLeast: z.enum(severities).optional().describe('Lowest severity that matches.'),
  service: globs.optional(),
  route: globs.optional(),
  endpoint: globs.optional(),
  consumer: z
    .strictObject({
      id: globs.optional(),
      username: globs.optional(),
      customId: globs.optional(),
      tags: globs.optional().describe('Matches if any tag of the consumer matches any of the patterns.'),
    })
    .optional()
    .describe(
      'The consumer that the alert is about. All given fields must match; alerts about others never match.',
    ),
  network: networks.optional(),
  country: z
    .union([z.string().length(2), z.array(z.string().length(2)).min(1)])
    .optional()
    .describe('ISO 3166-1 alpha-2 codes; any source of the alert may match.'),
};

/** Conditions of a policy: every field given must match; `not`, `any` and `all` nest. `{}` matches every alert. */
export interface PolicyMatch extends z.infer<z.ZodObject<typeof matchShape>> {
  not?: PolicyMatch | undefined;
  any?: PolicyMatch[] | undefined;
  all?: PolicyMatch[] | undefined;
}

export const policyMatchSchema: z.ZodType<PolicyMatch> = z.strictObject({
  ...matchShape,
  get not() {
    return policyMatchSchema.optional();
  },
  get any() {
    return z.array(policyMatchSchema).min(1).optional();
  },
  get all() {
    return z.array(policyMatchSchema).min(1).optional();
  },
});

const name = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'allowed: 1 to 63 of a-z, 0-9 and -, not beginning with -');

const actionId = name
  .optional()
  .describe(
    'Name of the action, unique in its policy. Left out: its type, and for the second without one of this type "block-2". ' +
      'An alert gets one response per action, whatever else of the policy changes.',
  );

export const blockActionSchema = z
  .strictObject({
    type: z.literal('block'),
    id: actionId,
    duration,
    status: z
      .int()
      .min(400)
      .max(599)
      .default(403)
      .describe(
        'HTTP status that the consumer gets: 400 to 599, so that what the block refused is told from what it served.',
      ),
    message: z
      .string()
      .max(500)
      .default('Blocked because of unusual traffic')
      .describe('Message that the consumer gets.'),
  })
  .describe("Kong's request-termination on the consumer.");

export const rateLimitActionSchema = z
  .strictObject({
    type: z.literal('rate-limit'),
    id: actionId,
    duration,
    second: z.int().min(1).optional().describe('Requests per second.'),
    minute: z.int().min(1).optional().describe('Requests per minute.'),
    hour: z.int().min(1).optional().describe('Requests per hour.'),
  })
  .refine((action) => action.second ?? action.minute ?? action.hour, {
    message: 'at least one of second, minute and hour is needed',
  })
  .describe("Kong's rate-limiting on the consumer.");

export const notifyActionSchema = z
  .strictObject({
    type: z.literal('notify'),
    id: actionId,
    webhook: z.string().min(1).describe('Id of a webhook of the configuration.'),
  })
  .describe('Sends the alert to a webhook.');

export const policySchema = z.strictObject({
  id: name.describe('Unique name.'),
  description: z.string().optional(),
  enabled: z.boolean().default(true),
  dryRun: z
    .boolean()
    .default(false)
    .describe('Decide and report, but change nothing in Kong and notify nobody.'),
  match: policyMatchSchema,
  actions: z
    .array(z.discriminatedUnion('type', [blockActionSchema, rateLimitActionSchema, notifyActionSchema]))
    .min(1),
});

export const policiesSchema = z
  .strictObject({
    $schema: z.string().optional(),
    policies: z.array(policySchema),
  })
  .describe('Response policies of Tripline: which alerts lead to which actions.');

export type BlockAction = z.infer<typeof blockActionSchema>;
export type RateLimitAction = z.infer<typeof rateLimitActionSchema>;
export type NotifyAction = z.infer<typeof notifyActionSchema>;
export type PolicyAction = BlockAction | RateLimitAction | NotifyAction;
export type Policy = z.infer<typeof policySchema>;
export type Policies = z.infer<typeof policiesSchema>;
