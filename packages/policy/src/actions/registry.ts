import type { z } from 'zod';
import { createPoliciesSchema } from '../policy-schema.ts';
import type { ActionKind, ResponseKind } from './action.ts';

/** The actions that policies can name, looked up by type, and what is derived from the list of them. */
export class ActionRegistry {
  readonly kinds: readonly ActionKind[];
  /** Names of Kong's plugins that carry out responses. */
  readonly pluginNames: readonly string[];

  constructor(kinds: readonly ActionKind[]) {
    this.kinds = kinds;
    this.pluginNames = kinds.flatMap((kind) => (kind.kind === 'response' ? [kind.plugin.name] : []));
    for (const names of [kinds.map(({ type }) => type), this.pluginNames])
      if (new Set(names).size < names.length)
        throw new Error(`two actions have the same type or plugin: ${names.join(', ')}`);
  }

  /** Schema of a policy file with these actions. `alertTypes`: the types of alerts that there are; left out: any. */
  policiesSchema(alertTypes?: readonly string[]): z.ZodType {
    return createPoliciesSchema(
      this.kinds.map(({ schema }) => schema),
      alertTypes,
    );
  }

  find(type: unknown): ActionKind | undefined {
    return this.kinds.find((kind) => kind.type === type);
  }

  /** The action of this type if it is one that leads to responses. */
  findResponse(type: unknown): ResponseKind | undefined {
    const kind = this.find(type);
    return kind?.kind === 'response' ? kind : undefined;
  }

  /** True if the configuration of the plugin of this name depends on the operator's plugins. */
  dependsOnOperator(pluginName: string): boolean {
    return this.kinds.some(
      (kind) => kind.kind === 'response' && kind.plugin.name === pluginName && kind.plugin.dependsOnOperator,
    );
  }

  /** Id of the channel that the action of a policy notifies; undefined if it notifies none. */
  channelOf(action: { type: string }): string | undefined {
    const kind = this.find(action.type);
    return kind?.kind === 'notification' ? kind.channelOf(action) : undefined;
  }

  /** The README's table of actions, as Markdown. */
  table(): string {
    const rows = this.kinds.map(
      ({ type, documentation: { inKong, settings } }) => `| \`${type}\` | ${inKong} | ${settings} |`,
    );
    return ['| action | in Kong | settings |', '| --- | --- | --- |', ...rows].join('\n');
  }
}
