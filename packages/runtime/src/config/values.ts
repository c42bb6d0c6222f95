import { z } from 'zod';

export const port = z.int().min(0).max(65_535);
export const bytes = z.int().min(1);
export const file = z.string().min(1);
export const httpUrl = z.url({ protocol: /^https?$/ });
export const hostAndPort = z.string().regex(/^[^\s:/[\]]+:[0-9]{1,5}$/, 'allowed: host:port');

/** TLS of a connection that Tripline makes. */
export const tlsClientSchema = z.strictObject({
  caFile: file.optional().describe("PEM certificates to trust, if not the system's."),
  certFile: file.optional().describe('PEM client certificate.'),
  keyFile: file.optional().describe('PEM key of the client certificate.'),
  serverName: z.string().optional().describe('Name that the certificate must carry, if not the host.'),
  insecure: z.boolean().optional().describe('Take any certificate. For trying things out only.'),
});
