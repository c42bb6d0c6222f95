export { loadConfig, resolvePath, type LoadedConfig } from './load.ts';
export { configJsonSchema, configSchema, type Config } from './schema.ts';
