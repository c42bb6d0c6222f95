import { isLiteral } from '@tripline/model';
import type { PolicyMatch } from './policy-match.ts';
import type { Policies } from './policy.ts';

/**
 * Adds to each pattern without wildcards what `mask` makes of it. Names in alerts may be masked (an e-mail address becomes
 * a token), so that a policy then matches a name in either form.
 */
export function maskPolicies(policies: Policies, mask: (text: string) => string): Policies {
  return {
    ...policies,
    policies: policies.policies.map((policy) => ({ ...policy, match: maskMatch(policy.match, mask) })),
  };
}

function maskMatch(match: PolicyMatch, mask: (text: string) => string): PolicyMatch {
  const both = (pattern: string): string[] => {
    const masked = isLiteral(pattern) ? mask(pattern) : pattern;
    return masked === pattern ? [pattern] : [pattern, masked];
  };
  const { consumer, service, route, not, any, all } = match;
  return {
    ...match,
    ...(service !== undefined && { service: [service].flat().flatMap(both) }),
    ...(route !== undefined && { route: [route].flat().flatMap(both) }),
    ...(consumer && {
      consumer: Object.fromEntries(
        Object.entries(consumer).map(([field, patterns]) => [field, [patterns ?? []].flat().flatMap(both)]),
      ),
    }),
    ...(not && { not: maskMatch(not, mask) }),
    ...(any && { any: any.map((inner) => maskMatch(inner, mask)) }),
    ...(all && { all: all.map((inner) => maskMatch(inner, mask)) }),
  };
}
