export * from './lake.ts';
export type { Findings, RatedCall, RiskFilter, Session } from './queries/sessions.ts';
export { openEmbeddedLake } from './embedded-lake.ts';
export { openServerLake, type ServerLakeOptions } from './server-lake.ts';
