/** The topics of the bus and what their records are (each record is one JSON object). */
export const topics = ['api-calls', 'alerts', 'responses', 'dead-letters'] as const;
export type Topic = (typeof topics)[number];

/** A log line that was not accepted, as it is kept for inspection: sanitised and cut short. */
export interface DeadLetter {
  /** When the collector read it, ms since the epoch. */
  receivedAt: number;
  reason: string;
  /** What was wrong, in words. */
  detail: string;
  /** The sanitised beginning of the line, at most 2,000 characters. */
  sample: string;
}
