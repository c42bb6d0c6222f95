import { actions as allActions, positionOf, type Policies, type PolicyProblem } from '@tripline/policy';
import { takesLinesFromStrangers, type Config } from '@tripline/runtime';

/** What to do where strangers could forge lines; the settings are those of the collector. */
export const forgeryAdvice =
  'Set collector.token (lines must carry it; tripline kong connect --apply puts it into Kong), or collector.allow (addresses ' +
  'of the Kong nodes), or, where something else keeps strangers away from its ports, collector.trustUnauthenticated: true. ' +
  'Or give the policy "dryRun": true.';

/**
 * Finds policies that change something in Kong although anybody who reaches the collector can forge the lines that they act
 * on: whoever knows the id of a consumer could get that consumer blocked. `text` is the policy file, for the positions.
 * Returns none if the collector knows who sends. Policies that are switched off or dry runs are no problem.
 */
export function forgeryProblems(
  text: string,
  { policies }: Policies,
  collector: Config['collector'],
): PolicyProblem[] {
  if (!takesLinesFromStrangers(collector)) return [];
  return policies.flatMap(({ id, enabled, dryRun, actions }, index) => {
    const changes = actions.map(({ type }) => type).filter((type) => allActions.findResponse(type));
    if (!enabled || dryRun || changes.length === 0) return [];
    return [
      {
        ...positionOf(text, ['policies', index]),
        path: `policies[${index}]`,
        message:
          `"${id}" would ${changes.join(' and ')} because of lines that anybody who reaches the collector ` +
          `(${collector.host}:${collector.port}) can forge. ${forgeryAdvice}`,
      },
    ];
  });
}
