import { scopeOf } from '@tripline/kong/precedence';
import type { ActualPlugin } from '../plugins.ts';

/** A remark names this many plugins and counts the others. */
const namedMax = 3;

/**
 * Puts the operator's plugins into words, each list under its heading: `masked by your rate-limiting 3e1f… on route 77ab…`.
 * Returns null if all lists are empty.
 */
export function describePlugins(
  lists: readonly (readonly [heading: string, plugins: readonly ActualPlugin[]])[],
): string | null {
  const texts = lists
    .filter(([, plugins]) => plugins.length > 0)
    .map(([heading, plugins]) => {
      const named = plugins.slice(0, namedMax).map(describePlugin).join(', ');
      const more = plugins.length - namedMax;
      return `${heading} ${named}${more > 0 ? ` and ${more} more` : ''}`;
    });
  return texts.length === 0 ? null : texts.join('; ');
}

/** One plugin of the operator in words: `your rate-limiting 3e1f… on route 77ab… and the consumer, counting by ip`. */
export function describePlugin(plugin: ActualPlugin): string {
  const { route, service, consumer } = scopeOf(plugin);
  const where = [
    route === null ? '' : `route ${route}`,
    service === null ? '' : `service ${service}`,
    consumer === null ? '' : 'the consumer',
    plugin.consumer_group ? `consumer group ${plugin.consumer_group.id}` : '',
  ].filter((text) => text !== '');
  const scope = where.length === 0 ? '(global)' : `on ${where.join(' and ')}`;
  const limitBy = plugin.config['limit_by'];
  const counting = typeof limitBy === 'string' && limitBy !== 'consumer' ? `, counting by ${limitBy}` : '';
  return `your ${plugin.name} ${plugin.id} ${scope}${counting}`;
}

/** Why nothing is attached to a consumer that has a plugin of the operator. */
export function occupiedBy(pluginName: string): string {
  return `the consumer has a ${pluginName} plugin that is not Tripline's; it is left alone`;
}
