export * from './config.ts';
export * from './errors.ts';
export * from './keys.ts';
export * from './lifecycle.ts';
export * from './logger.ts';
export * from './observe.ts';
export * from './persist.ts';
export * from './role.ts';
