import { createRequire } from 'node:module';

/**
 * kafkajs 2.2.4 looks at the queue of each connection every millisecond for as long as it is connected, from the first
 * answer on: it waits for the end of a throttling that never began, by a negative time (tulios/kafkajs#1704). With five to
 * ten connections that is 2 % of a core for an idle process, and a warning on Node 24.
 *
 * Here a queue is looked at later only if something waits in it. Whatever is queued asks for that look itself, so nothing is
 * forgotten. Without the method that it replaces, another kafkajs is left as it is.
 */
export function calmKafkajs(): void {
  const queue = createRequire(import.meta.url)('kafkajs/src/network/requestQueue/index.js') as {
    prototype: { pending: unknown[]; scheduleCheckPendingRequests?: () => void };
  };
  const look = queue.prototype.scheduleCheckPendingRequests;
  if (!look || calmed.has(look)) return;
  const lookIfNeeded = function (this: typeof queue.prototype): void {
    if (this.pending.length > 0) look.call(this);
  };
  calmed.add(lookIfNeeded);
  queue.prototype.scheduleCheckPendingRequests = lookIfNeeded;
}

const calmed = new WeakSet<() => void>();
