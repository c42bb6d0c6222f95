import type { ApiCall } from '@tripline/model';
import type { Exception } from './config.ts';
import { globToRegExp } from './glob.ts';

/** Tells whether a call lies within the announced window: its consumer matches and it began in time. */
export function compileException(exception: Exception): (call: ApiCall) => boolean {
  const fromMs = Date.parse(exception.from);
  const untilMs = Date.parse(exception.until);
  const patterns = exception.consumers.map(globToRegExp);
  return (call) => {
    if (call.startedAt < fromMs || call.startedAt >= untilMs || call.consumerId === undefined) return false;
    const names = [call.consumerId, call.consumerUsername, call.consumerCustomId];
    return names.some((name) => name !== undefined && patterns.some((pattern) => pattern.test(name)));
  };
}
