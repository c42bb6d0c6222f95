import { durationMs } from '@tripline/model';
import type { ActionRegistry } from './actions/registry.ts';
import { countryCodes } from './countries.ts';
import { actionIds } from './decide.ts';
import { show, type Finding, type Path } from './findings.ts';
import { parseNetwork } from './network.ts';

const durationMaxMs = 3650 * 86_400_000;

/**
 * Finds the problems that the schema cannot express. Takes the value as it is in the file, so that these problems are
 * reported together with those of the schema.
 */
export function findMeaningProblems(root: unknown, registry: ActionRegistry): Finding[] {
  const findings: Finding[] = [];
  const firstUse = new Map<string, number>();
  asList(asObject(root)['policies']).forEach((policy, index) => {
    const { id, match, actions } = asObject(policy);
    const path: Path = ['policies', index];
    if (typeof id === 'string') {
      const first = firstUse.get(id);
      if (first === undefined) firstUse.set(id, index);
      else {
        findings.push({
          path: [...path, 'id'],
          message: `${show(id)} is already the id of policies[${first}]; allowed: an id of its own`,
        });
      }
    }
    checkMatch(match, [...path, 'match'], findings);
    asList(actions).forEach((action, at) =>
      checkAction(asObject(action), [...path, 'actions', at], registry, findings),
    );
    checkActionIds(asList(actions).map(asObject), [...path, 'actions'], findings);
  });
  return findings;
}

function checkMatch(match: unknown, path: Path, findings: Finding[]): void {
  const { network, country, not, any, all } = asObject(match);
  for (const [text, at] of textsAt(network, [...path, 'network'])) {
    const found = parseNetwork(text);
    if (typeof found === 'string') {
      findings.push({
        path: at,
        message: `${show(text)} is not allowed here: ${found}; allowed: an address or a network such as "203.0.113.0/24" or "2001:db8::/32"`,
      });
    }
  }
  for (const [text, at] of textsAt(country, [...path, 'country'])) {
    if (text.length !== 2 || countryCodes.has(text)) continue;
    const upper = text.toUpperCase();
    const meant = upper === 'UK' ? 'GB' : countryCodes.has(upper) ? upper : undefined;
    findings.push({
      path: at,
      message:
        `${show(text)} is no country; allowed: ISO 3166-1 alpha-2 codes in capitals, such as "NO"` +
        (meant ? `; did you mean "${meant}"?` : ''),
    });
  }
  if (not !== undefined) checkMatch(not, [...path, 'not'], findings);
  asList(any).forEach((inner, at) => checkMatch(inner, [...path, 'any', at], findings));
  asList(all).forEach((inner, at) => checkMatch(inner, [...path, 'all', at], findings));
}

function checkActionIds(actions: readonly Record<string, unknown>[], path: Path, findings: Finding[]): void {
  const text = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);
  const ids = actionIds(actions.map(({ type, id }) => ({ type: text(type) ?? '', id: text(id) })));
  ids.forEach((id, at) => {
    const first = ids.indexOf(id);
    if (first === at || (!actions[at]!['id'] && !actions[first]!['id'])) return;
    const [given, other] = actions[at]!['id'] === undefined ? [first, at] : [at, first];
    const byDefault = actions[other]!['id'] === undefined ? ', which has none of its own' : '';
    findings.push({
      path: [...path, given, 'id'],
      message: `${show(id)} is already the id of actions[${other}]${byDefault}; allowed: an id of its own`,
    });
  });
}

function checkAction(
  action: Record<string, unknown>,
  path: Path,
  registry: ActionRegistry,
  findings: Finding[],
): void {
  const { type, duration } = action;
  if (typeof duration === 'string' && (durationMs(duration) ?? 0) > durationMaxMs) {
    findings.push({
      path: [...path, 'duration'],
      message: `${show(duration)} is not allowed here; allowed: at most "3650d", or "permanent"`,
    });
  }
  for (const { setting, message } of registry.find(type)?.check?.(action) ?? [])
    findings.push({ path: [...path, setting], message });
}

function asObject(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

function asList(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

function textsAt(value: unknown, path: Path): [string, Path][] {
  if (typeof value === 'string') return [[value, path]];
  return asList(value).flatMap((text, at): [string, Path][] =>
    typeof text === 'string' ? [[text, [...path, at]]] : [],
  );
}
