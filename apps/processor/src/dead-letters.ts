import { randomBytes } from 'node:crypto';
import { jsonRecord, type Bus } from '@tripline/bus';
import type { DeadLetter } from '@tripline/model';
import { Counter, type RoleContext } from '@tripline/runtime';
import { createSanitizer, outline } from '@tripline/sanitize';

/** Letters that may wait while others are being published. */
const maxWaiting = 100;
/** An outline is made of the beginning of its record. */
const maxSampledChars = 10_000;

export interface DeadLetters {
  /** Keeps the outline of a record that cannot be used, and why. */
  add(reason: string, detail: string, record: string): void;
}

/**
 * Publishes samples of records that cannot be used on `dead-letters`, as outlines, since nobody has sanitised the records. Letters are
 * published beside the stream, one lot at a time. Those that come while a hundred wait are counted and dropped, so that neither a flood
 * of bad records nor a bus that does not answer fills the memory.
 */
export function createDeadLetters(
  options: RoleContext & { role: string; bus: Pick<Bus, 'publish'> },
): DeadLetters {
  const { bus, now } = options;
  let waiting: DeadLetter[] = [];
  let isSending = false;
  // A key of its own: its tokens match those of no call.
  const sanitizer = createSanitizer({ key: randomBytes(32) });
  const dropped = new Counter({
    name: `tripline_${options.role}_dead_letters_dropped_total`,
    help: 'Dead letters that were not kept, as too many came at once or the bus did not take them.',
    registers: [options.metrics],
  });

  const send = async (): Promise<void> => {
    isSending = true;
    while (waiting.length > 0) {
      const letters = waiting;
      waiting = [];
      const records = letters.map((letter) => jsonRecord(letter.reason, letter));
      try {
        await bus.publish('dead-letters', records);
      } catch {
        dropped.inc(letters.length);
      }
    }
    isSending = false;
  };

  return {
    add(reason, detail, record) {
      if (waiting.length >= maxWaiting) {
        dropped.inc();
        return;
      }
      waiting.push({
        receivedAt: now(),
        reason,
        detail,
        sample: outline(record.slice(0, maxSampledChars), sanitizer),
      });
      if (!isSending) void send();
    },
  };
}
