import type { JsonNode } from './json.ts';

/** Where something stands in a policy file: `['policies', 2, 'match']`. */
export type Path = readonly (string | number)[];

/** Something that is wrong with a policy file. */
export interface Finding {
  path: Path;
  message: string;
  /** The finding is about the name of a property, not about its value. */
  atKey?: boolean;
  /** Offset in the text, where the path does not lead there. */
  at?: number;
}

/** A path in words: `policies[2].match.severityAtLeast`. */
export function showPath(path: Path): string {
  return path.reduce<string>((text, step) => {
    if (typeof step === 'number') return `${text}[${step}]`;
    if (!/^[A-Za-z_$][\w$]*$/.test(step)) return `${text}[${JSON.stringify(step)}]`;
    return text === '' ? step : `${text}.${step}`;
  }, '');
}

/** A value as JSON, at most 80 characters of it. */
export function show(value: unknown): string {
  const text = JSON.stringify(value) as string | undefined;
  if (text === undefined) return 'nothing';
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

/** Finds the node at the path; where the path leads further than the text, the last node on it. */
export function nodeAt(root: JsonNode, path: Path): { node: JsonNode; complete: boolean } {
  let node = root;
  for (const step of path) {
    const child = node.children?.get(String(step));
    if (!child) return { node, complete: false };
    node = child;
  }
  return { node, complete: true };
}

/** Offset of a finding in the text. */
export function offsetOf(root: JsonNode, finding: Finding): number {
  if (finding.at !== undefined) return finding.at;
  const { node } = nodeAt(root, finding.path);
  return finding.atKey ? (node.keyAt ?? node.at) : node.at;
}
