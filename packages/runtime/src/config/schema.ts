import { z } from 'zod';
import { busSchema, lakeSchema, stateSchema } from './backends.ts';
import { collectorSchema } from './collector.ts';
import { kongSchema } from './kong.ts';
import { processorSchema } from './processor.ts';
import { responderSchema } from './responder.ts';
import { sanitizeSchema } from './sanitize.ts';
import { servicesSchema } from './services.ts';
import { file, port } from './values.ts';
import { webhooksSchema } from './webhooks.ts';

/** Everything that `tripline.json` may hold, in the order in which the published JSON Schema lists it. */
export const configSchema = z
  .strictObject({
    $schema: z.string().optional(),
    dataDir: file.default('./tripline-data'),
    logLevel: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
    http: z
      .strictObject({ host: z.string().default('127.0.0.1'), port: port.default(9602) })
      .prefault({})
      .describe('Health and metrics.'),
    collector: collectorSchema.prefault({}),
    services: servicesSchema,
    sanitize: sanitizeSchema,
    geo: z
      .strictObject({
        cityFile: file.optional().describe('MMDB with cities or countries.'),
        asnFile: file.optional().describe('MMDB with network operators.'),
      })
      .prefault({}),
    bus: busSchema,
    state: stateSchema,
    lake: lakeSchema,
    processor: processorSchema,
    kong: kongSchema,
    policiesFile: file.default('./policies.json'),
    responder: responderSchema,
    webhooks: webhooksSchema,
    detectors: z
      .record(z.string(), z.unknown())
      .default({})
      .describe('Settings per detector; see packages/detection.'),
  })
  .describe('Configuration of Tripline (tripline.json).');

export type Config = z.infer<typeof configSchema>;

/** The JSON Schema of `tripline.json` (draft 2020-12), as it is published in `tripline.schema.json`. */
export function configJsonSchema(): Record<string, unknown> {
  const { $schema, ...schema } = z.toJSONSchema(configSchema, { io: 'input' });
  return { $schema, title: 'Tripline configuration', ...schema };
}
