import type { KongAdmin, KongPlugin } from '@tripline/kong';
import {
  findHolders,
  isAsDesired,
  isOurs,
  operatorPlugins,
  triplineTag,
  type ActionRegistry,
  type DesiredPlugin,
  type OperatorPlugins,
  type PluginGroup,
} from '@tripline/policy';

/** What is in Kong, as it was read last and changed since. */
export class KongView {
  readonly #actions: ActionRegistry;
  readonly #now: () => number;

  /** Our plugins by id. */
  readonly #ours = new Map<string, KongPlugin>();
  /** `#ours` may not be what is in Kong, and must be read before the next pass. */
  #isUncertain = true;
  /**
   * Ids of ours as last read, and of what was written or may have been written since: what is missing among them at the
   * next reading was taken away by somebody. Undefined before the first reading.
   */
  #expectedIds: Set<string> | undefined;
  /** The operator's plugins that can interfere with an action. Undefined before the first reading. */
  #operators: OperatorPlugins | undefined;
  #operatorsReadAt = -Infinity;
  /** Ids of the operator's plugins. Some may once have been ours until somebody took their tags off. */
  #operatorIds: ReadonlySet<string> = new Set();
  /** Our plugins that were in Kong exactly as desired at the end of the last pass, by id. Undefined before the first. */
  #confirmed: ReadonlyMap<string, DesiredPlugin> | undefined;
  /** Groups in which a plugin of the operator holds a place: tried again at full comparisons only. */
  readonly #conflicting = new Set<string>();

  constructor(actions: ActionRegistry, now: () => number) {
    this.#actions = actions;
    this.#now = now;
  }

  /** True if Kong must be read before anything else. */
  get isUncertain(): boolean {
    return this.#isUncertain;
  }

  /** Our plugins by id, as far as they are known. */
  get ours(): ReadonlyMap<string, KongPlugin> {
    return this.#ours;
  }

  /** The operator's plugins. Throws before the first reading. */
  get operators(): OperatorPlugins {
    if (!this.#operators) throw new Error('Kong was not read yet');
    return this.#operators;
  }

  /** Age of what is known of the operator's plugins, ms. */
  operatorsAgeMs(nowMs: number): number {
    return nowMs - this.#operatorsReadAt;
  }

  /**
   * Reads our plugins from Kong; the operator's too if asked to, or if one of ours is missing, since it may be the
   * operator's now. `list` reads all plugins, or those with a tag.
   */
  async read(
    list: (tag?: string) => ReturnType<KongAdmin['plugins']>,
    alsoOperators: boolean,
  ): Promise<void> {
    const expected = this.#expectedIds;
    let all = alsoOperators || !expected || !this.#operators;
    let plugins = await (all ? list() : list(triplineTag));
    if (!all && [...expected!].some((id) => !plugins.some((plugin) => plugin.id === id))) {
      all = true;
      plugins = await list();
    }
    if (all) {
      const { pluginNames } = this.#actions;
      const theirs = plugins.filter((plugin) => !isOurs(plugin) && pluginNames.includes(plugin.name));
      this.#operators = operatorPlugins(theirs, this.#actions);
      this.#operatorsReadAt = this.#now();
      this.#operatorIds = new Set(theirs.map((plugin) => plugin.id));
    }
    this.#ours.clear();
    for (const plugin of plugins.filter(isOurs)) this.#ours.set(plugin.id, plugin);
    this.#isUncertain = false;
    this.#expectedIds = new Set(this.#ours.keys());
  }

  noteWritten(id: string, plugin: KongPlugin): void {
    this.#ours.set(plugin.id, plugin);
    this.#expectedIds?.add(id);
  }

  noteRemoved(id: string): void {
    this.#ours.delete(id);
    this.#expectedIds?.delete(id);
  }

  /** A write failed, and Kong may have done it all the same: it must be read before the next step. */
  noteUncertain(id: string): void {
    this.#isUncertain = true;
    this.#expectedIds?.add(id);
  }

  isOperators(id: string): boolean {
    return this.#operatorIds.has(id);
  }

  noteConflict(group: string): void {
    this.#conflicting.add(group);
  }

  forgetConflicts(): void {
    this.#conflicting.clear();
  }

  /** The desired plugins of these groups, without groups in which the operator holds a place. */
  desiredOf(groups: readonly PluginGroup[]): DesiredPlugin[] {
    return groups.filter(({ id }) => !this.#conflicting.has(id)).flatMap(({ plugins }) => plugins);
  }

  /** Finds which of the desired plugins are in Kong exactly as desired. */
  confirm(desired: readonly DesiredPlugin[]): ReadonlySet<string> {
    const holderOf = findHolders(desired, this.#ours.values());
    const confirmed = desired.filter((plugin) => {
      const holder = holderOf(plugin);
      return holder && isAsDesired(plugin, holder);
    });
    this.#confirmed = new Map(confirmed.map((plugin) => [plugin.id, plugin]));
    return new Set(this.#confirmed.keys());
  }

  /** The plugin that was in Kong exactly as desired at the end of the last pass. */
  confirmed(id: string): DesiredPlugin | undefined {
    return this.#confirmed?.get(id);
  }
}
