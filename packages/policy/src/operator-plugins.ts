import { indexPlugins, rankOf, scopeOf, type PluginIndex } from '@tripline/kong/precedence';
import { isOurs, type ActualPlugin } from './plugins.ts';

/** The operator's plugins of one name, as planning needs them. */
export interface OperatorIndex extends PluginIndex<ActualPlugin> {
  /** Plugins for one consumer on a route, a service or both, by consumer and ordered by id: they win over ours. */
  ofConsumer: ReadonlyMap<string, readonly ActualPlugin[]>;
  /** Plugins for all consumers that Kong applies to this one on some route of some service, ordered by id. */
  replaceable(consumerId: string): readonly ActualPlugin[];
}

/** The operator's plugins of all names that carry out responses. */
export type OperatorPlugins = ReadonlyMap<string, OperatorIndex>;

/** Indexes, by name, those of the plugins that are the operator's. Done once for each reading of Kong. */
export function indexOperatorPlugins(
  plugins: readonly ActualPlugin[],
  names: readonly string[],
): OperatorPlugins {
  const theirs = plugins
    .filter((plugin) => !isOurs(plugin))
    .sort((a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0));
  return new Map(names.map((name) => [name, indexOf(name, theirs)]));
}

function indexOf(name: string, theirs: readonly ActualPlugin[]): OperatorIndex {
  const index = indexPlugins(theirs, name);
  const ofConsumer = new Map<string, ActualPlugin[]>();
  for (const plugin of index.active) {
    if (!plugin.consumer || rankOf(scopeOf(plugin)) > 3) continue;
    ofConsumer.set(plugin.consumer.id, [...(ofConsumer.get(plugin.consumer.id) ?? []), plugin]);
  }
  const ofAll = index.active.filter((plugin) => !plugin.consumer && index.winner(scopeOf(plugin)) === plugin);
  return {
    ...index,
    ofConsumer,
    replaceable: (consumerId) =>
      ofConsumer.has(consumerId)
        ? ofAll.filter((one) => index.winner({ ...scopeOf(one), consumer: consumerId }) === one)
        : ofAll,
  };
}
