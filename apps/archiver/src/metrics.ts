import { Counter, Gauge, Histogram, type RoleContext } from '@tripline/runtime';

export type ArchiverMetrics = ReturnType<typeof registerMetrics>;

export function registerMetrics({ metrics }: RoleContext) {
  const registers = [metrics];
  const labelNames = ['topic'];
  return {
    records: new Counter({
      name: 'tripline_archiver_records_total',
      help: 'Records written to the lake.',
      labelNames,
      registers,
    }),
    bytes: new Counter({
      name: 'tripline_archiver_bytes_total',
      help: 'Bytes of the records written to the lake.',
      labelNames,
      registers,
    }),
    refused: new Counter({
      name: 'tripline_archiver_refused_total',
      help: 'Records that the lake does not take; they are among the dead letters.',
      labelNames,
      registers,
    }),
    jumps: new Counter({
      name: 'tripline_archiver_jumps_total',
      help: 'Times that the bus did not go on where the archiver had ended: records were gone, or the bus is another one.',
      labelNames,
      registers,
    }),
    lost: new Counter({
      name: 'tripline_archiver_lost_records_total',
      help: 'Records that were gone from the bus before they were archived: at most so many, as Kafka leaves positions out.',
      labelNames,
      registers,
    }),
    failures: new Counter({
      name: 'tripline_archiver_failures_total',
      help: 'Failed attempts at the state or the lake, each tried again.',
      registers,
    }),
    insertSeconds: new Histogram({
      name: 'tripline_archiver_insert_seconds',
      help: 'Duration of an insert that succeeded.',
      buckets: [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30],
      registers,
    }),
    lastSuccess: new Gauge({
      name: 'tripline_archiver_last_success_time_seconds',
      help: 'When records were last written, in seconds since the epoch.',
      registers,
    }),
  };
}
