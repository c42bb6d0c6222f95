export * from './state-store.ts';
export * from './embedded-state.ts';
