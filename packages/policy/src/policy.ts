import type { PolicyAction } from './actions/index.ts';
import type { PolicyMatch } from './policy-match.ts';

export interface Policy {
  id: string;
  description?: string | undefined;
  enabled: boolean;
  /** Decide and report, but change nothing in Kong and notify nobody. */
  dryRun: boolean;
  match: PolicyMatch;
  actions: PolicyAction[];
}

/** A policy file after parsing, with all defaults filled in. */
export interface Policies {
  $schema?: string | undefined;
  policies: Policy[];
}
