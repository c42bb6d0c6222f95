import { register } from 'node:module';

// Makes the clients of Kafka and Redis impossible to load, as where their native binaries are missing.
const hooks = `
  export async function resolve(specifier, context, next) {
    if (['kafkajs', 'snappy', 'ioredis'].includes(specifier.split('/')[0]))
      throw new Error('Cannot find native binding of ' + specifier);
    return next(specifier, context);
  }`;
register(`data:text/javascript,${encodeURIComponent(hooks)}`);
