import { BusUnavailableError, RecordTooLargeError, type Bus, type BusRecord } from '@tripline/bus';

/** A bus with a switch in front: the real one behind it, or an outage. */
export interface Outage {
  bus: Bus;
  /** `refuse` rejects at once, `silent` never answers until `end`. */
  mode: 'works' | 'refuse' | 'silent';
  /** Records whose value is longer are refused, as a broker does with too large messages. */
  maxValueChars: number;
  /** Calls of `publish` that went through to the bus, each with its records. */
  published: BusRecord[][];
  /** Works from now on; what waits for an answer is told that there was none. */
  end: () => void;
}

export function createOutage(real: Bus): Outage {
  const silenced: ((error: Error) => void)[] = [];
  const outage: Outage = {
    mode: 'works',
    maxValueChars: Infinity,
    published: [],
    end: () => {
      outage.mode = 'works';
      for (const refuse of silenced.splice(0)) refuse(new BusUnavailableError('The bus did not answer.'));
    },
    bus: {
      partitions: real.partitions,
      publish: async (topic, records) => {
        if (outage.mode === 'refuse') throw new BusUnavailableError('The bus is away.');
        if (outage.mode === 'silent') await new Promise((_resolve, reject) => silenced.push(reject));
        if (records.some(({ value }) => value.length > outage.maxValueChars))
          throw new RecordTooLargeError(`A record is larger than ${outage.maxValueChars}.`);
        if (topic === 'api-calls') outage.published.push(records);
        await real.publish(topic, records);
      },
      consume: (options) => real.consume(options),
      lag: () => real.lag(),
      problem: () => (outage.mode === 'works' ? real.problem() : 'The bus is away.'),
      close: () => real.close(),
    },
  };
  return outage;
}
