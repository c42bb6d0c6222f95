import { partitionOf, type BusRecord } from '@tripline/bus';
import { encodeEmission, endpointId, type Emission } from '@tripline/detection';

/**
 * An emission as records: one for every partition of `aggregates`, as each must hear how far its source has come, with the parts of the
 * endpoints that belong there.
 */
export function aggregateRecords(emission: Emission, partitions: number): BusRecord[] {
  const records: BusRecord[] = [];
  for (let partition = 0; partition < partitions; partition++) {
    const parts = emission.parts.filter((part) => partitionOf(endpointId(part), partitions) === partition);
    records.push({
      key: `source-${emission.from}`,
      partition,
      value: encodeEmission({ ...emission, parts }),
    });
  }
  return records;
}
