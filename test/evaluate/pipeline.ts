import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AggregateFold, aggregateRecords, CallFold } from '@tripline/app-processor';
import { bodyOf } from '@tripline/bus';
import {
  createDetection,
  createEndpointDetection,
  detectionConfigSchema,
  type DetectionConfig,
} from '@tripline/detection';
import { encodeApiCall, type Alert, type ApiCall } from '@tripline/model';
import { createEmbeddedState } from '@tripline/state';

/** From API calls in the order of their arrival to alerts, as the processor does it. */
export interface Pipeline {
  /** Revisions of alerts, oldest first. */
  take: (calls: readonly ApiCall[]) => Promise<Alert[]>;
  /** The input has ended, and with it every episode. */
  end: () => Promise<Alert[]>;
  close: () => Promise<void>;
}

const batchCalls = 2_000;
const checkpointCalls = 200_000;

/** One partition with its state on disk, as shipped but for the announced windows. */
export async function openPipeline(
  exceptions: DetectionConfig['requestSpike']['exceptions'],
): Promise<Pipeline> {
  const scratch = mkdtempSync(join(tmpdir(), 'tripline-evaluate-'));
  const state = createEmbeddedState({ path: scratch });
  const complain = (what: string, problem: string): never => {
    throw new Error(`${problem}: ${what.slice(0, 200)}`);
  };
  const config = detectionConfigSchema.parse({
    requestSpike: { exceptions },
    bruteForce: { exceptions },
    objectEnumeration: { exceptions },
    dataScraping: { exceptions },
    pathProbing: { exceptions },
    impossibleTravel: { exceptions },
    credentialSharing: { exceptions },
  });
  const endpointDetection = createEndpointDetection(config);
  const fold = new CallFold({
    detection: createDetection(config),
    aggregates: endpointDetection.enabled,
    state: await state.claim(0),
    maxActorsInMemory: () => 100_000,
    rememberedIds: 500_000,
    onUnreadable: complain,
    onRelearn: complain,
  });
  const aggregateFold = new AggregateFold({
    detection: endpointDetection,
    state: await state.claim(1),
    sources: 1,
    onUnreadable: complain,
    onRelearn: complain,
  });
  await fold.open();
  await aggregateFold.open();
  const foldAggregates = async (): Promise<Alert[]> => {
    const records = fold.emissions.flatMap((emission) => aggregateRecords(emission, 1));
    if (records.length === 0) return [];
    const alerts = await aggregateFold.fold(bodyOf(records.map(({ value }) => value)));
    fold.emitted();
    return alerts;
  };
  let folded = 0;
  let saved = 0;
  return {
    async take(calls) {
      const alerts: Alert[] = [];
      for (let from = 0; from < calls.length; from += batchCalls) {
        const batch = calls.slice(from, from + batchCalls);
        const body = bodyOf(batch.map((call) => encodeApiCall(call)));
        for (const alert of await fold.fold(body)) alerts.push(alert);
        for (const alert of await foldAggregates()) alerts.push(alert);
        folded += batch.length;
      }
      if (folded - saved >= checkpointCalls) {
        saved = folded;
        await fold.checkpoint(folded);
        await aggregateFold.checkpoint(folded);
      }
      return alerts;
    },
    async end() {
      const alerts = await fold.closeUntil(Number.MAX_SAFE_INTEGER);
      fold.rest();
      alerts.push(...(await foldAggregates()));
      return [...alerts, ...(await aggregateFold.closeUntil(Number.MAX_SAFE_INTEGER))];
    },
    async close() {
      await state.close();
      rmSync(scratch, { recursive: true, force: true });
    },
  };
}
