import type { BusRecord } from '@tripline/bus';
import type { DeadLetter } from '@tripline/model';
import { createLogger, createMetrics } from '@tripline/runtime';
import { describe, expect, it, vi } from 'vitest';
import { createDeadLetters } from './dead-letters.ts';

function deadLetters(publish: (records: DeadLetter[]) => Promise<void>) {
  const metrics = createMetrics();
  const letters = createDeadLetters({
    role: 'processor',
    bus: {
      publish: (_topic: string, records: BusRecord[]) =>
        publish(records.map(({ value }) => JSON.parse(value.toString()) as DeadLetter)),
    },
    logger: createLogger({ level: 'silent', pretty: false }),
    metrics,
    now: () => 7,
  });
  const dropped = async (): Promise<number> => {
    const [value] = (await metrics.getSingleMetric('tripline_processor_dead_letters_dropped_total')!.get())
      .values;
    return value!.value;
  };
  return { letters, dropped };
}

describe('dead letters of the processor', () => {
  it('say why and where, and show names and types but no value', async () => {
    const published: DeadLetter[] = [];
    const { letters } = deadLetters((more) => Promise.resolve(void published.push(...more)));
    letters.add(
      'no-api-call',
      'api-calls/3: no API call: status is missing',
      '{"id":"secret","status":"hunter2"}',
    );
    await vi.waitFor(() => expect(published.length).toBe(1));
    expect(published).toEqual([
      {
        receivedAt: 7,
        reason: 'no-api-call',
        detail: 'api-calls/3: no API call: status is missing',
        sample: '{"id":"~text~ 6 chars","status":"~text~ 7 chars"}',
      },
    ]);
  });

  it('are a hundred at most that wait for the bus, and the others are counted', async () => {
    let answer: (error?: Error) => void = () => undefined;
    const lots: number[] = [];
    const { letters, dropped } = deadLetters((more) => {
      lots.push(more.length);
      return new Promise((resolve, reject) => {
        answer = (error) => (error ? reject(error) : resolve());
      });
    });
    for (let n = 0; n < 1_000; n++) letters.add('no-api-call', '', '{}');
    expect(lots).toEqual([1]);
    expect(await dropped()).toBe(899);
    answer();
    await vi.waitFor(() => expect(lots).toEqual([1, 100]));
    // The bus does not take them: they are lost, and counted, and the next ones are tried.
    answer(new Error('away'));
    await vi.waitFor(async () => expect(await dropped()).toBe(999));
    letters.add('no-api-call', '', '{}');
    await vi.waitFor(() => expect(lots).toEqual([1, 100, 1]));
    answer();
  });
});
