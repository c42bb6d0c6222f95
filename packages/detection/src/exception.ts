import type { ApiCall } from '@tripline/model';
import type { Exception } from './config.ts';
import { globToRegExp } from './glob.ts';

/** Whether a call lies in one of the announced windows, by the consumer's id, username or custom id and its event time. */
export function compileExceptions(exceptions: readonly Exception[]): (call: ApiCall) => boolean {
  const compiled = exceptions.map(({ consumers, from, until }) => ({
    fromMs: Date.parse(from),
    untilMs: Date.parse(until),
    patterns: consumers.map(globToRegExp),
  }));
  return (call) => {
    for (const { fromMs, untilMs, patterns } of compiled) {
      if (call.startedAt < fromMs || call.startedAt >= untilMs || call.consumerId === undefined) continue;
      const names = [call.consumerId, call.consumerUsername, call.consumerCustomId];
      if (names.some((name) => name !== undefined && patterns.some((pattern) => pattern.test(name))))
        return true;
    }
    return false;
  };
}
