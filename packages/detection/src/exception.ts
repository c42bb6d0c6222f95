import type { ApiCall } from '@tripline/model';
import type { Exception, Scope } from './settings.ts';
import { globToRegExp } from './glob.ts';

/** What of a detector's settings decides which calls it leaves out. */
export interface Selection {
  exceptions: readonly Exception[];
  scope?: Scope | undefined;
}

/** Tells whether a detector leaves a call out: it is out of its scope, or in an announced window by its actor and its time. */
export function compileExceptions({ exceptions, scope = {} }: Selection): (call: ApiCall) => boolean {
  const compiled = exceptions.map(({ consumers, from, until }) => ({
    fromMs: Date.parse(from),
    untilMs: Date.parse(until),
    matches: anyOf(consumers),
  }));
  const inConsumers = scope.consumers && anyOf(scope.consumers);
  const inServices = scope.services && anyOf(scope.services);
  const inRoutes = scope.routes && anyOf(scope.routes);
  return (call) => {
    if (inServices && !inServices(call.service)) return true;
    if (inRoutes && !inRoutes(call.route)) return true;
    const isNamed = (matches: Matcher): boolean =>
      matches(call.actorId) || matches(call.consumerUsername) || matches(call.consumerCustomId);
    if (inConsumers && !isNamed(inConsumers)) return true;
    for (const { fromMs, untilMs, matches } of compiled) {
      if (call.startedAt >= fromMs && call.startedAt < untilMs && isNamed(matches)) return true;
    }
    return false;
  };
}

type Matcher = (name: string | undefined) => boolean;

function anyOf(patterns: readonly string[]): Matcher {
  const compiled = patterns.map(globToRegExp);
  return (name) => name !== undefined && compiled.some((pattern) => pattern.test(name));
}
