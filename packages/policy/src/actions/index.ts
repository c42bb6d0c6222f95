import type { SettingsOf } from './action.ts';
import { block } from './block/block.ts';
import { notify } from './notify/notify.ts';
import { rateLimit } from './rate-limit/rate-limit.ts';
import { ActionRegistry } from './registry.ts';

const kinds = [block, rateLimit, notify] as const;

/**
 * All actions. The schema of policies, the messages of `tripline policies check`, the table in the README, decisions and
 * the plugins in Kong follow from this list.
 */
export const actions = new ActionRegistry(kinds);

/** The settings of an action in a policy. */
export type PolicyAction = SettingsOf<(typeof kinds)[number]>;
