import type { ApiCall } from '@tripline/model';
import type { Exception } from './config.ts';
import { globToRegExp } from './glob.ts';

/** Does the announced window hold for the call? By consumer, or address or credential where there is none, and event time. */
export function compileException(exception: Exception): (call: ApiCall) => boolean {
  const fromMs = Date.parse(exception.from);
  const untilMs = Date.parse(exception.until);
  const patterns = exception.consumers.map(globToRegExp);
  return (call) => {
    if (call.startedAt < fromMs || call.startedAt >= untilMs) return false;
    const names = [call.actorId, call.consumerUsername, call.consumerCustomId];
    return names.some((name) => name !== undefined && patterns.some((pattern) => pattern.test(name)));
  };
}
