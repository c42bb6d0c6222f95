export * from './address.ts';
export * from './api-call.ts';
export * from './alert.ts';
export * from './response.ts';
export * from './policy.ts';
export * from './topics.ts';
export { apiCallProblem } from './api-call-shape.ts';
export { alertProblem } from './alert-shape.ts';
export { isArrayOf, isCount, isInteger, isNumber, isOneOf, isString, type Check } from './shape.ts';
