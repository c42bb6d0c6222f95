import { z } from 'zod';
import { isAlertType, severities } from '@tripline/model';

const globs = z
  .union([z.string().min(1), z.array(z.string().min(1)).min(1)])
  .describe('One pattern or a list of which any may match; * stands for any run of characters, ? for one.');

const networks = z
  .union([z.string(), z.array(z.string()).min(1)])
  .describe(
    'Addresses or CIDR networks, such as "203.0.113.0/24" or "2001:db8::/32"; any source of the alert may match.',
  );

function matchShape(alertType: z.ZodType<string>) {
  return {
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
}

/** Conditions of a policy: every field given must match; `not`, `any` and `all` nest. `{}` matches every alert. */
export interface PolicyMatch extends z.infer<z.ZodObject<ReturnType<typeof matchShape>>> {
  not?: PolicyMatch | undefined;
  any?: PolicyMatch[] | undefined;
  all?: PolicyMatch[] | undefined;
}

/** Builds the schema of conditions. `alertTypes`: the types of alerts that there are; left out: any. */
export function createMatchSchema(alertTypes?: readonly string[]): z.ZodType<PolicyMatch> {
  const alertType: z.ZodType<string> = alertTypes
    ? z.enum(alertTypes)
    : z.string().refine(isAlertType, 'allowed: a type of alert, such as "request-spike"');
  const schema: z.ZodType<PolicyMatch> = z.strictObject({
    ...matchShape(alertType),
    get not() {
      return schema.optional();
    },
    get any() {
      return z.array(schema).min(1).optional();
    },
    get all() {
      return z.array(schema).min(1).optional();
    },
  });
  return schema;
}
