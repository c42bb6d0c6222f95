import { randomBytes } from 'node:crypto';
import { jsonRecord, type Bus } from '@tripline/bus';
import type { DeadLetter } from '@tripline/model';
import { Counter, type RoleContext } from '@tripline/runtime';
import { createSanitizer, outline } from '@tripline/sanitize';

/** Letters that may wait while others are being published. */
const waitingMost = 100;
/** How much of a record its outline is made of. */
const maxSampledChars = 10_000;

export interface DeadLetters {
  /** Keeps the outline of a record that cannot be used, and why. */
  add(reason: string, detail: string, record: string): void;
}

/**
 * Samples of records that cannot be used, for the topic of dead letters: outlines, as nobody has sanitised the records. They
 * are published beside the stream, one lot at a time. What comes while a hundred wait is only counted, so that neither a
 * flood of bad records nor a bus that is away fills the memory.
 */
export function createDeadLetters(
  options: RoleContext & { role: string; bus: Pick<Bus, 'publish'> },
): DeadLetters {
  const { bus, now } = options;
  let waiting: DeadLetter[] = [];
  let isSending = false;
  // No call has its tokens: they stand in dead letters only.
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
      if (waiting.length >= waitingMost) {
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
