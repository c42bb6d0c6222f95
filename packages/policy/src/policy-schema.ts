import { z } from 'zod';
import { name } from './actions/fields.ts';
import { createMatchSchema } from './policy-match.ts';

/**
 * Builds the schema of a policy file, which parses to `Policies`. `actionSchemas` are the schemas of actions, told apart by
 * `type`; `alertTypes` the types of alerts that there are, left out: any.
 */
export function createPoliciesSchema(
  actionSchemas: readonly z.ZodType[],
  alertTypes?: readonly string[],
): z.ZodType {
  const action = z.discriminatedUnion('type', actionSchemas as unknown as readonly [z.ZodObject]);
  const policy = z.strictObject({
    id: name.describe('Unique name.'),
    description: z.string().optional(),
    enabled: z.boolean().default(true),
    dryRun: z
      .boolean()
      .default(false)
      .describe('Decide and report, but change nothing in Kong and notify nobody.'),
    match: createMatchSchema(alertTypes),
    actions: z.array(action).min(1),
  });
  return z
    .strictObject({ $schema: z.string().optional(), policies: z.array(policy) })
    .describe('Response policies of Tripline: which alerts lead to which actions.');
}
