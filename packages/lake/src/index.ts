export * from './lake.ts';
export { openEmbeddedLake } from './embedded-lake.ts';
export { openServerLake, type ServerLakeOptions } from './server-lake.ts';
