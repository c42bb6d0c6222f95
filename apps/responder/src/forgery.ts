import type { Policies } from '@tripline/model';
import { positionOf, type PolicyProblem } from '@tripline/policy';
import { takesLinesFromStrangers, type Config } from '@tripline/runtime';

/** What to do where strangers could forge lines; the settings are those of the collector. */
export const forgeryAdvice =
  'Set collector.token (lines must carry it; tripline kong connect --apply puts it into Kong), or collector.allow (addresses ' +
  'of the Kong nodes), or, where something else keeps strangers away from its ports, collector.trustUnauthenticated: true. ' +
  'Or give the policy "dryRun": true.';

/**
 * Policies that change something in Kong although anybody who reaches the collector can forge the lines that they act on:
 * whoever knows the id of a consumer could get that consumer blocked. `text` is the policy file, for the positions. Empty if
 * the collector knows who sends, or if every such policy is switched off or a dry run.
 */
export function forgeryProblems(
  text: string,
  { policies }: Policies,
  collector: Config['collector'],
): PolicyProblem[] {
  if (!takesLinesFromStrangers(collector)) return [];
  return policies.flatMap(({ id, enabled, dryRun, actions }, index) => {
    const acts = actions.filter(({ type }) => type !== 'notify').map(({ type }) => type);
    if (!enabled || dryRun || acts.length === 0) return [];
    return [
      {
        ...positionOf(text, ['policies', index]),
        path: `policies[${index}]`,
        message:
          `"${id}" would ${acts.join(' and ')} because of lines that anybody who reaches the collector ` +
          `(${collector.host}:${collector.port}) can forge. ${forgeryAdvice}`,
      },
    ];
  });
}
