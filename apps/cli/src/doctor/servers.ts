import { setTimeout as sleep } from 'node:timers/promises';
import { createLogger, resolvePath, type Config } from '@tripline/runtime';
import { createBackends, type Backends } from '../backends.ts';
import type { Finding, Subject } from './finding.ts';

const answerWithinMs = 10_000;

/** Do the configured Kafka, Redis and ClickHouse answer? */
export async function* checkServers({ loaded }: Subject): AsyncGenerator<Finding> {
  const { state, lake } = loaded.config;
  const logger = createLogger({ level: 'silent', pretty: false });
  const dataDir = resolvePath(loaded, loaded.config.dataDir);
  const backends = createBackends({ loaded, dataDir, logger, now: Date.now });
  const { kafka } = loaded.config.bus;
  if (kafka) yield await ask('Kafka', () => kafkaAnswer(backends, kafka));
  const { redis } = state;
  if (redis) yield await ask('Redis', () => redisAnswer(backends, redis));
  const { clickhouse } = lake;
  if (lake.enabled && clickhouse)
    yield await ask('ClickHouse', () => clickHouseAnswer(backends, clickhouse.url));
  await backends.close();
}

async function ask(server: string, answer: () => Promise<string>): Promise<Finding> {
  try {
    return { level: 'ok', what: `${server}: ${await answer()}` };
  } catch (error) {
    return { level: 'fail', what: `${server}: ${(error as Error).message}` };
  }
}

type KafkaSettings = NonNullable<Config['bus']['kafka']>;

async function kafkaAnswer(backends: Backends, { brokers, topicPrefix }: KafkaSettings): Promise<string> {
  const kafka = await backends.bus();
  const endsAt = Date.now() + answerWithinMs;
  await kafka.lag();
  if (kafka.problem() !== null)
    process.stderr.write(`Kafka does not answer yet; waiting up to ${answerWithinMs / 1_000} s.\n`);
  for (await kafka.lag(); kafka.problem() !== null && Date.now() < endsAt; await kafka.lag())
    await sleep(200);
  const problem = kafka.problem();
  if (problem !== null) throw new Error(problem);
  return `answers at ${brokers.join(', ')}, ${kafka.partitions} partitions of ${topicPrefix}api-calls`;
}

async function redisAnswer(
  backends: Backends,
  { url, cluster }: NonNullable<Config['state']['redis']>,
): Promise<string> {
  const where = url?.replace(/\/\/[^@/]*@/, '//') ?? cluster?.join(', ') ?? '';
  const { keys } = await (await backends.state('processor')).size();
  return `answers at ${where}, ${keys} states of the processors`;
}

async function clickHouseAnswer(backends: Backends, url: string): Promise<string> {
  const [row] = await (await backends.lake()).query<{ version: string }>('SELECT version() AS version');
  return `${row?.version ?? '?'} answers at ${url}`;
}
