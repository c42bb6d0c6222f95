/**
 * The topics of the bus and what their records are (each record is one JSON object). `aggregates` carries what partitions of
 * `api-calls` counted per endpoint, to the endpoint's partition: see `Emission` in `packages/detection`.
 */
export const topics = ['api-calls', 'aggregates', 'alerts', 'responses', 'dead-letters'] as const;
export type Topic = (typeof topics)[number];

/** A log line that was not accepted, as it is kept for inspection: sanitised and cut short. */
export interface DeadLetter {
  /** When the collector read it, ms since the epoch. */
  receivedAt: number;
  reason: string;
  /** What was wrong, in words. */
  detail: string;
  /** The sanitised beginning of the line, or what a record of the bus looks like without its values; at most 2,000 characters. */
  sample: string;
}
