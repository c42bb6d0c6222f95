import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { EmbeddedLogReader, recordsOf, type LogPositions } from '@tripline/bus';
import { readApiCall, topics, type Topic } from '@tripline/model';
import { createLogger, resolvePath, UserError, type LoadedConfig } from '@tripline/runtime';
import { createBackends } from './backends.ts';
import { print } from './lines.ts';
import { readOptions } from './options.ts';

const pollMs = 200;
/** Kafka does not say where a topic ends: without `--follow` the command ends when nothing has come for so long. */
const quietMs = 5_000;
const answerWithinMs = 10_000;

interface CatOptions {
  topic: Topic;
  from: 'oldest' | 'newest';
  limit: number;
  follow: boolean;
}

/** `tripline bus cat TOPIC`: prints the records of a topic, one JSON object a line. Changes nothing on the bus. */
export async function bus(args: string[]): Promise<number> {
  const [what, ...rest] = args;
  if (what !== 'cat') throw new UserError('There is: tripline bus cat TOPIC.');
  const { loaded, values, positionals } = readOptions(
    rest,
    { from: { type: 'string' }, limit: { type: 'string' }, follow: { type: 'boolean' } },
    { names: [`a TOPIC (${topics.join(', ')})`] },
  );
  const options = checked(positionals[0]!, values);
  if (loaded.config.bus.kafka) await catKafka(loaded, options);
  else await catEmbedded(join(resolvePath(loaded, loaded.config.dataDir), 'bus'), options);
  return 0;
}

function checked(topic: string, values: { from?: string; limit?: string; follow?: boolean }): CatOptions {
  const { from = 'oldest', limit, follow = false } = values;
  if (!topics.some((one) => one === topic))
    throw new UserError(`There is no topic "${topic}"; there are ${topics.join(', ')}.`);
  if (from !== 'oldest' && from !== 'newest')
    throw new UserError(
      `--from is "${from}": allowed are oldest (the default) and newest (only records to come).`,
    );
  if (limit !== undefined && !/^[1-9][0-9]{0,14}$/.test(limit))
    throw new UserError(`--limit is "${limit}": it is a number of records, at least 1.`);
  return {
    topic: topic as Topic,
    from,
    limit: limit === undefined ? Infinity : Number(limit),
    // There is nothing yet behind the newest record.
    follow: follow || from === 'newest',
  };
}

/** Reads the files of the embedded bus, also while Tripline runs on them. */
async function catEmbedded(path: string, { topic, from, limit, follow }: CatOptions): Promise<void> {
  const log = openLog(path);
  try {
    const positions: LogPositions = from === 'newest' ? log.ends(topic) : new Map<number, number>();
    let printed = 0;
    for (;;) {
      for (const record of log.read(topic, positions)) {
        await print(lineOf(topic, record));
        if (++printed >= limit) return;
      }
      if (!follow) return;
      await sleep(pollMs);
    }
  } finally {
    await log.close();
  }
}

function openLog(path: string): EmbeddedLogReader {
  try {
    return new EmbeddedLogReader(path);
  } catch (error) {
    throw new UserError(
      `The bus at ${path} cannot be read: ${(error as Error).message} Give the configuration of the Tripline that keeps ` +
        'it with --config, and run this as a user who may read and write its files: a reader registers in the lock file.',
    );
  }
}

/** Reads as a consumer group of its own, which the roles do not notice. */
async function catKafka(loaded: LoadedConfig, { topic, from, limit, follow }: CatOptions): Promise<void> {
  const logger = createLogger({ level: 'silent', pretty: false });
  const dataDir = resolvePath(loaded, loaded.config.dataDir);
  const backends = createBackends({ loaded, dataDir, logger, now: Date.now });
  try {
    const kafka = await backends.bus();
    let printed = 0;
    let lastAt = Date.now();
    const subscription = kafka.consume({
      topic,
      group: `cat-${process.pid}-${Date.now()}`,
      from,
      startAt: () => Promise.resolve(undefined),
      onBatch: async ({ body }) => {
        for (const record of recordsOf(body)) {
          if (printed >= limit) return;
          printed++;
          await print(lineOf(topic, record));
        }
        lastAt = Date.now();
      },
    });
    const startedAt = Date.now();
    while (printed < limit) {
      const problem = kafka.problem();
      // Before Kafka answers, quiet says nothing.
      if (problem === null) {
        if (!follow && Date.now() - lastAt >= quietMs) break;
      } else {
        lastAt = Date.now();
        if (printed === 0 && Date.now() - startedAt >= answerWithinMs) throw new UserError(problem);
      }
      await Promise.race([sleep(pollMs), subscription.stopped]);
    }
    await subscription.stop();
  } finally {
    await backends.close();
  }
}

/** A record as one line of JSON. One that holds none is said by what is wrong and its size: nobody has sanitised it. */
function lineOf(topic: Topic, record: Buffer): string {
  if (topic === 'api-calls') {
    const call = readApiCall(record);
    return `${JSON.stringify(typeof call === 'string' ? unreadable(call, record) : call)}\n`;
  }
  try {
    return `${JSON.stringify(JSON.parse(record.toString()))}\n`;
  } catch {
    return `${JSON.stringify(unreadable('no JSON', record))}\n`;
  }
}

function unreadable(problem: string, record: Buffer): { unreadable: string; bytes: number } {
  return { unreadable: problem, bytes: record.length };
}
