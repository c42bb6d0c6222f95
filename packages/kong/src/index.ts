export * from './admin/admin-api.ts';
export { createKongAdmin } from './admin/client.ts';
export * from './connect/custom-fields.ts';
export { connectDeckYaml } from './connect/deck.ts';
export * from './connect/plan.ts';
export * from './log-line/index.ts';
export * from './precedence/precedence.ts';
