import { Counter, Gauge, type RoleContext } from '@tripline/runtime';
import type { Accounting } from './accounting.ts';
import type { Publisher } from './publisher.ts';

type Metric<Value> = [
  name: string,
  help: string,
  read: (accounting: Accounting, publisher: Publisher) => Value,
];

const totals: Metric<number>[] = [
  ['lines_received_total', 'Lines read, good or bad.', ({ received }) => received],
  ['lines_published_total', 'Lines on the bus as API calls.', ({ published }) => published],
  [
    'stream_sessions_total',
    'Lines of TCP and TLS sessions (stream routes of Kong), which are no API calls.',
    ({ streamSessions }) => streamSessions,
  ],
  [
    'lines_returned_total',
    'Good lines that could not be kept and whose sender was told to send them again.',
    ({ returned }) => returned,
  ],
  [
    'lines_restored_total',
    'Records that an earlier process had left in the spool.',
    ({ restored }) => restored,
  ],
  [
    'lines_spooled_total',
    'Lines that took the way over the spool.',
    (_accounting, { spooledTotal }) => spooledTotal,
  ],
];

const totalsByReason: Metric<Map<string, number>>[] = [
  ['lines_rejected_total', 'Lines refused, by reason.', ({ rejected }) => rejected],
  ['lines_dropped_total', 'Good lines that were lost, by reason.', ({ dropped }) => dropped],
];

const levels: Metric<number>[] = [
  ['spool_records', 'Records on disk that the bus has not taken yet.', ({ spooled }) => spooled],
  ['spool_bytes', "Size of the spool's files.", (_accounting, { spoolBytes }) => spoolBytes],
  [
    'lines_in_flight',
    'Accepted lines that wait in memory. received + restored = published + rejected + stream sessions + dropped + returned + spool_records + in flight.',
    ({ inFlight }) => inFlight,
  ],
  ['in_flight_bytes', 'Memory of accepted lines that wait.', ({ inFlightBytes }) => inFlightBytes],
];

/** The accounting of the lines as metrics, read when they are asked for. */
export function publishMetrics({ metrics }: Pick<RoleContext, 'metrics'>, publisher: Publisher): void {
  const { accounting } = publisher;
  const registers = [metrics];
  for (const [name, help, read] of totals) {
    new Counter({
      name: `tripline_collector_${name}`,
      help,
      registers,
      collect() {
        this.reset();
        this.inc(read(accounting, publisher));
      },
    });
  }
  for (const [name, help, read] of totalsByReason) {
    new Counter({
      name: `tripline_collector_${name}`,
      help,
      labelNames: ['reason'],
      registers,
      collect() {
        this.reset();
        for (const [reason, count] of read(accounting, publisher)) this.inc({ reason }, count);
      },
    });
  }
  for (const [name, help, read] of levels) {
    new Gauge({
      name: `tripline_collector_${name}`,
      help,
      registers,
      collect() {
        this.set(read(accounting, publisher));
      },
    });
  }
}
