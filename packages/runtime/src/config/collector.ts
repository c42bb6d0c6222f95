import { z } from 'zod';
import { bytes, file, port } from './values.ts';

/** How log lines come in. */
export const collectorSchema = z.strictObject({
  host: z.string().default('0.0.0.0').describe('Address to listen on.'),
  port: port.default(9600).describe('Port for plain TCP.'),
  tls: z
    .strictObject({
      port: port.default(9601),
      certFile: file.optional().describe('PEM certificate chain.'),
      keyFile: file.optional().describe('PEM private key.'),
      certificates: z
        .array(z.strictObject({ certFile: file, keyFile: file }))
        .min(1)
        .optional()
        .describe(
          'Several certificates, instead of certFile and keyFile or beside them: the one that is for the name that Kong asks ' +
            'for (tls_sni), else the first.',
        ),
    })
    .refine((tls) => (tls.certFile === undefined) === (tls.keyFile === undefined), {
      message: 'certFile and keyFile belong together',
    })
    .refine((tls) => tls.certFile !== undefined || tls.certificates !== undefined, {
      message: 'certFile and keyFile are needed, or certificates',
    })
    .optional()
    .describe(
      'Also listen with TLS. Kong before 3.13 does not verify the certificate: this keeps others from reading along.',
    ),
  http: z
    .strictObject({
      port: port.default(9603),
      maxBodyBytes: bytes
        .default(8 * 2 ** 20)
        .describe('Largest body; four times as much is held at the same time.'),
    })
    .optional()
    .describe(
      "Also take what Kong's http-log plugin posts; {} for port 9603. HTTPS if collector.tls is set.",
    ),
  spool: z
    .strictObject({
      dir: file.optional().describe('Left out: spool in dataDir. Each collector needs its own.'),
      maxBytes: bytes
        .default(2 ** 30)
        .describe('What may wait on disk while the bus does not answer. Beyond it the newest are dropped.'),
    })
    .prefault({}),
  token: z
    .string()
    .min(8)
    .optional()
    .describe('Lines must carry it in the custom field tripline.token; see `tripline kong connect`.'),
  allow: z
    .array(z.string())
    .default([])
    .describe('Addresses or CIDR networks of the Kong nodes. Empty: any address may connect.'),
  trustUnauthenticated: z
    .boolean()
    .default(false)
    .describe(
      'Let policies block although neither token nor allow keeps forged lines out: something else, such as a firewall or ' +
        'a NetworkPolicy, keeps strangers away from these ports.',
    ),
  maxLineBytes: bytes.default(1_048_576),
  maxDepth: z.int().min(8).max(1000).default(32).describe('Deepest nesting of a line.'),
  maxUnfinishedBytes: bytes
    .default(64 * 2 ** 20)
    .describe(
      'Memory that lines which have begun and not ended may hold, of all connections together. Beyond it the connection ' +
        'with the largest of them is closed.',
    ),
  maxConnections: z.int().min(1).default(1_000),
  maxConnectionsPerAddress: z.int().min(1).default(200),
  frameTimeoutMs: z
    .int()
    .min(100)
    .default(30_000)
    .describe('Longest time between the first byte of a line and its end.'),
  idleTimeoutMs: z
    .int()
    .min(60_000)
    .default(300_000)
    .describe('Longest silence between lines; Kong itself closes after 60 s.'),
  maxAheadMs: z
    .int()
    .min(1_000)
    .default(300_000)
    .describe("How far a line's time may be ahead of this machine's clock."),
  keepHeaders: z.array(z.string()).default([]).describe('Further request headers to keep, sanitised.'),
  credentialNames: z
    .array(z.string())
    .default([])
    .describe(
      "Headers and query parameters that carry API keys, besides the usual ones: what your key-auth's key_names say.",
    ),
});
