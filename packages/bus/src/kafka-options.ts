import type { ConnectionOptions } from 'node:tls';
import type { Topic } from '@tripline/model';

export interface KafkaBusOptions {
  /** host:port of the brokers to ask first. */
  brokers: string[];
  clientId: string;
  /** Before the names of topics and consumer groups. */
  topicPrefix: string;
  /** Of each topic; topics with another number are refused. */
  partitions: number;
  /** Of topics that the bus makes. */
  replicationFactor: number;
  /** How long topics that the bus makes keep API calls. */
  retentionHours: number;
  sasl?: { mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512'; username: string; password: string };
  /** TLS; true for the system's authorities. */
  ssl?: ConnectionOptions | true;
  /** Groups whose lag `lag` tells besides those that this bus consumes for. */
  groups?: { topic: Topic; group: string }[];
  onLog?: KafkaLog;
  /** Wall clock in ms. */
  now?: () => number;
}

export type KafkaLog = (level: 'debug' | 'info' | 'warn' | 'error', message: string) => void;
