import type { z } from 'zod';
import type { PluginScope } from '@tripline/kong/precedence';
import type { ResponseAction, Target, TargetKind } from '@tripline/model';
import type { OperatorIndex } from '../operator-plugins.ts';
import type { DesiredPlugin } from '../plugins.ts';

/** The contract of an action of policies. Each folder beside this file is one action; `index.ts` lists them. */
export type ActionKind = ResponseKind | NotificationKind;

/** The settings of an action, as its schema gives them. */
export type SettingsOf<Kind> =
  Kind extends ResponseKind<infer Settings>
    ? Settings
    : Kind extends NotificationKind<infer Settings>
      ? Settings
      : never;

interface Common {
  /** Value of `type` in a policy. */
  type: string;
  /** Schema of the action in a policy: an object with `type` as a literal, described for people. */
  schema: z.ZodType;
  /** Reports what the schema cannot express. The settings are those of the file, before the schema checked them. */
  check?(settings: Readonly<Record<string, unknown>>): SettingProblem[];
  /** Its row in the README's table of actions, as Markdown. */
  documentation: { inKong: string; settings: string };
}

export interface SettingProblem {
  /** Name of the setting that is wrong. */
  setting: string;
  /** What is wrong, the value given, what is allowed. */
  message: string;
}

/** An action that sends the alert to a channel. */
export interface NotificationKind<Settings = unknown> extends Common {
  kind: 'notification';
  /** Id of the channel. */
  channelOf(settings: Settings): string;
}

/** An action that is in force on a target, by plugins in Kong, until it expires or is lifted. */
export interface ResponseKind<Settings extends ResponseAction = ResponseAction> extends Common {
  kind: 'response';
  /** What it can act on. An alert about anything else leads to no response. */
  targets: readonly TargetKind[];
  /** Kong's plugin that carries it out. No other action uses the same plugin. */
  plugin: {
    name: string;
    /** Settings of the plugin that change what it does: unset unless `plan` sets them. */
    unsetFields: readonly string[];
    /** Its configuration depends on the operator's plugins, which are read anew before a new one is written. */
    dependsOnOperator: boolean;
  };
  /** Computes the desired plugins of all responses of this kind on one target. Pure. */
  plan(request: PlanRequest<Settings>): Plan;
}

export interface PlanRequest<Settings> {
  target: Target;
  /** Settings of the responses; the one that lasts longest comes first. */
  settings: readonly [Settings, ...Settings[]];
  /** The operator's plugins of the same name. */
  operators: OperatorIndex;
  /** How many copies of the operator's plugins may still be made. */
  copiesLeft: number;
  /** Makes a plugin on this scope, with the id and the tags that belong to the responses. */
  makePlugin: (scope: PluginScope, config: Record<string, unknown>) => DesiredPlugin;
}

export interface Plan {
  /** In the order in which they must be written: the most specific first. */
  plugins: DesiredPlugin[];
  /** Why nothing may be attached, in words; null if something is. */
  refusal: string | null;
  /** Where Kong applies something else than the policy says, in words; null: nowhere. */
  remark: string | null;
}

/** Copies of the operator's plugins for single targets, at most, for all targets together. */
export const copiesMax = 2_000;

export function refused(refusal: string): Plan {
  return { plugins: [], refusal, remark: null };
}

/** All requests of a consumer. */
export function consumerScope(consumerId: string): PluginScope {
  return { route: null, service: null, consumer: consumerId };
}
