import { startAggregates, startProcessor } from '@tripline/app-processor';
import { createConfiguredDetection } from '../configured.ts';
import type { Process } from './process.ts';

/** The processor, and beside it the role that sees the endpoints across actors, unless no detector needs it. */
export async function addProcessor({ config, bus, backends, context, add }: Process): Promise<void> {
  const processor = context('processor');
  const { detection, endpointDetection } = createConfiguredDetection(config, (part, problem) =>
    processor.logger.warn(
      { part, problem },
      'part of the states of actors cannot be read and is learnt anew',
    ),
  );
  add(
    startProcessor({
      ...processor,
      bus,
      state: await backends.state('processor'),
      detection,
      aggregates: endpointDetection.enabled,
      maxActorsInMemory: config.processor.maxActorsInMemory,
    }),
  );
  if (!endpointDetection.enabled) return;
  add(
    startAggregates({
      ...context('aggregates'),
      bus,
      state: await backends.state('aggregates'),
      detection: endpointDetection,
    }),
  );
}
