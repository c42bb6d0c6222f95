import { startAggregates, startProcessor } from '@tripline/app-processor';
import { createConfiguredDetection } from '../configured.ts';
import type { Process } from './process.ts';

/** The processor, and beside it the role that sees the endpoints across actors, unless no detector needs it. */
export function addProcessor({ config, bus, backends, context, add }: Process): void {
  const { detection, endpointDetection } = createConfiguredDetection(config);
  add(
    startProcessor({
      ...context('processor'),
      bus,
      state: backends.state('processor'),
      detection,
      aggregates: endpointDetection.enabled,
    }),
  );
  if (!endpointDetection.enabled) return;
  add(
    startAggregates({
      ...context('aggregates'),
      bus,
      state: backends.state('aggregates'),
      detection: endpointDetection,
    }),
  );
}
