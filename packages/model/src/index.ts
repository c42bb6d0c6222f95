export * from './address.ts';
export * from './api-call.ts';
export * from './alert.ts';
export * from './response.ts';
export * from './policy.ts';
export * from './topics.ts';
