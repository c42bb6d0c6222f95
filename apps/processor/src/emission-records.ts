import { jsonRecord, partitionOf, type BusRecord } from '@tripline/bus';
import { endpointId, type Emission } from '@tripline/detection';

/**
 * An emission as records: one for every partition of `aggregates`, as each must hear how far its source has come, with the parts of the
 * endpoints that belong there.
 */
export function aggregateRecords(emission: Emission, partitions: number): BusRecord[] {
  const records: BusRecord[] = [];
  for (let partition = 0; partition < partitions; partition++) {
    const parts = emission.parts.filter(
      ([, , service, endpoint]) => partitionOf(endpointId({ service, endpoint }), partitions) === partition,
    );
    records.push({ ...jsonRecord(`source-${emission.from}`, { ...emission, parts }), partition });
  }
  return records;
}
