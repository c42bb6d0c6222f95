import { z } from 'zod';
import { httpUrl, tlsClientSchema } from './values.ts';

/** Admin API of Kong, and what Kong computes for Tripline. */
export const kongSchema = z
  .strictObject({
    adminUrl: httpUrl.optional().describe('Admin API, http://localhost:8001. Left out: alerts only.'),
    workspace: z.string().optional().describe('Kong Enterprise workspace.'),
    adminToken: z.string().optional().describe('Kong-Admin-Token (Enterprise RBAC).'),
    adminHeaders: z
      .record(z.string(), z.string())
      .optional()
      .describe('Further headers for a proxy before the Admin API.'),
    tls: tlsClientSchema.optional(),
    fingerprintKey: z
      .string()
      .min(16)
      .optional()
      .describe(
        'Key of the fingerprints that Kong computes; whoever can read plugin configuration can read it.',
      ),
  })
  .prefault({});
