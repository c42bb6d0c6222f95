export * from './lake.ts';
export * from './clickhouse-lake.ts';
export { openEmbeddedLake } from './embedded-lake.ts';
