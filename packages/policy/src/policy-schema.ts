import { z } from 'zod';
import { name } from './actions/fields.ts';
import { policyMatchSchema } from './policy-match.ts';

/** Builds the schema of a policy file in which these schemas of actions are allowed, told apart by `type`. */
export function createPoliciesSchema(actionSchemas: readonly z.ZodType[]): z.ZodType {
  const action = z.discriminatedUnion('type', actionSchemas as unknown as readonly [z.ZodObject]);
  const policy = z.strictObject({
    id: name.describe('Unique name.'),
    description: z.string().optional(),
    enabled: z.boolean().default(true),
    dryRun: z
      .boolean()
      .default(false)
      .describe('Decide and report, but change nothing in Kong and notify nobody.'),
    match: policyMatchSchema,
    actions: z.array(action).min(1),
  });
  return z
    .strictObject({ $schema: z.string().optional(), policies: z.array(policy) })
    .describe('Response policies of Tripline: which alerts lead to which actions.');
}
