import { z } from 'zod';
import { bytes, hostAndPort, httpUrl, tlsClientSchema } from './values.ts';

const kafkaSchema = z.strictObject({
  brokers: z.array(hostAndPort).min(1).describe('Where to ask first, such as ["kafka-1:9092"].'),
  clientId: z.string().min(1).default('tripline'),
  topicPrefix: z
    .string()
    .regex(/^[a-zA-Z0-9._-]{0,100}$/, 'allowed: letters, digits and . _ -')
    .default('tripline.')
    .describe('Before the names of topics and consumer groups.'),
  partitions: z
    .int()
    .min(1)
    .max(1_000)
    .default(12)
    .describe('Of each topic: at most so many processors share the work. Cannot be changed later.'),
  replicationFactor: z
    .int()
    .min(1)
    .default(3)
    .describe('Copies of each partition, for topics that Tripline makes; not more than there are brokers.'),
  retentionHours: z
    .int()
    .min(1)
    .default(48)
    .describe(
      'How long API calls are kept on the bus: what roles may be behind, and states be rebuilt from.',
    ),
  sasl: z
    .strictObject({
      mechanism: z.enum(['plain', 'scram-sha-256', 'scram-sha-512']),
      username: z.string().min(1),
      password: z.string().min(1),
    })
    .optional(),
  tls: tlsClientSchema.optional().describe("{} for TLS with the system's authorities."),
});

const redisSchema = z
  .strictObject({
    url: z
      .url({ protocol: /^rediss?$/ })
      .optional()
      .describe('redis://host:6379/0, rediss:// for TLS.'),
    cluster: z
      .array(hostAndPort)
      .min(1)
      .optional()
      .describe('Nodes of a Redis Cluster to ask first, instead of url.'),
    username: z.string().optional(),
    password: z
      .string()
      .optional()
      .describe('Best given by the environment: TRIPLINE_STATE__REDIS__PASSWORD.'),
    keyPrefix: z
      .string()
      .regex(/^[^{}]{0,100}$/, 'allowed: up to 100 characters, no braces')
      .default('tripline')
      .describe('Before every key.'),
    tls: tlsClientSchema.optional(),
  })
  .refine((redis) => (redis.url === undefined) !== (redis.cluster === undefined), {
    message: 'either url or cluster is needed, not both',
  });

const clickhouseSchema = z.strictObject({
  url: httpUrl.describe('HTTP interface, such as http://clickhouse:8123.'),
  username: z.string().default('default'),
  password: z
    .string()
    .default('')
    .describe('Best given by the environment: TRIPLINE_LAKE__CLICKHOUSE__PASSWORD.'),
  cluster: z
    .string()
    .regex(/^[a-zA-Z0-9_.{}-]+$/)
    .optional()
    .describe('Name of a cluster of replicas: tables are made ON CLUSTER and replicated.'),
  tls: tlsClientSchema.optional(),
});

/** Embedded log or Kafka. */
export const busSchema = z
  .strictObject({
    maxBytes: bytes
      .default(4 * 2 ** 30)
      .describe(
        'Embedded: what may wait on disk for a role that is behind. Each topic has its share, api-calls 75 %; see packages/bus.',
      ),
    kafka: kafkaSchema.optional().describe('Kafka as the bus. Left out: a log in dataDir.'),
  })
  .prefault({});

/** Embedded files or Redis. */
export const stateSchema = z
  .strictObject({
    redis: redisSchema.optional().describe('Redis keeps the state. Left out: files in dataDir.'),
  })
  .prefault({});

/** Embedded engine or ClickHouse server. */
export const lakeSchema = z
  .strictObject({
    enabled: z.boolean().default(true),
    retentionDays: z.int().min(1).max(3_650).default(30),
    clickhouse: clickhouseSchema
      .optional()
      .describe(
        'A ClickHouse server holds the lake. Left out: the engine in this process, files in dataDir.',
      ),
  })
  .prefault({});
