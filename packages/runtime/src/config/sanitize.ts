import { z } from 'zod';
import { file } from './values.ts';

/** What the sanitiser takes for secret besides what it knows. */
export const sanitizeSchema = z
  .strictObject({
    keyFile: file
      .optional()
      .describe('Key of the tokens, at least 32 bytes as base64. Left out: made in dataDir.'),
    secretNames: z.array(z.string()).default([]).describe('Further names whose values are secret.'),
    secretPatterns: z
      .array(
        z
          .string()
          .refine(
            isPattern,
            'allowed: JavaScript regular expressions without slashes and flags, such as acme_[a-z0-9]{20}',
          ),
      )
      .default([])
      .describe('Further regular expressions whose matches are secret.'),
  })
  .prefault({});

function isPattern(text: string): boolean {
  try {
    return new RegExp(text, 'u') instanceof RegExp;
  } catch {
    return false;
  }
}
