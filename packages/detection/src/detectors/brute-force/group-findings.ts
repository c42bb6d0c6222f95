import { alertProblem, isArrayOf, isString, type Alert } from '@tripline/model';
import type { ByteReader } from '../../codec/byte-reader.ts';
import type { ByteWriter } from '../../codec/byte-writer.ts';

/** Findings of one endpoint and minute, 2 KB each. Those beyond come again as they grow. */
const FINDINGS_MOST = 8;

/**
 * The latest revision of an alert about one address that tries many accounts or keys, handed over by the profile of that address
 * instead of being published.
 */
export type Finding = Alert & { endpoint: string; evidence: GuessingEvidence };

/** What every alert about guessed credentials has as evidence, besides what only people read. */
export interface GuessingEvidence extends Record<string, unknown> {
  /** Tokens of the accounts that were tried. */
  accounts: readonly string[];
  /** Those of the accounts that then let the address in. */
  opened: readonly string[];
}

/** Findings of a minute by the ids of their alerts: at most FINDINGS_MOST, the first in order of the ids. */
export type Findings = Map<string, Finding>;

/** Adds a finding; of several revisions of one alert the latest counts. */
export function addFinding(findings: Findings, finding: Finding): void {
  const known = findings.get(finding.id);
  if (known && known.revision >= finding.revision) return;
  findings.set(finding.id, finding);
  if (findings.size <= FINDINGS_MOST) return;
  let last = '';
  for (const id of findings.keys()) if (id > last) last = id;
  findings.delete(last);
}

export function mergeFindings(findings: Findings, other: Findings): void {
  for (const finding of other.values()) addFinding(findings, finding);
}

/** Throws on an alert that is no finding about one address. */
export function asFinding(value: unknown): Finding {
  const problem = alertProblem(value);
  if (problem !== undefined) throw new Error(`the finding is no alert: ${problem || 'no object'} is wrong`);
  const { evidence, endpoint } = value as Alert;
  if (endpoint === null) throw new Error('the finding has no endpoint');
  for (const what of ['accounts', 'opened'] as const)
    if (!isArrayOf(isString)(evidence[what]))
      throw new Error(`the finding's evidence has no texts as ${what}`);
  return value as Finding;
}

export function writeFindings(writer: ByteWriter, findings: Findings): void {
  writer.uint(findings.size);
  for (const finding of [...findings.values()].sort((a, b) => (a.id < b.id ? -1 : 1)))
    writer.text(JSON.stringify(finding));
}

export function readFindings(reader: ByteReader): Findings {
  const findings: Findings = new Map();
  for (let left = reader.count(); left > 0; left--)
    addFinding(findings, asFinding(JSON.parse(reader.text())));
  return findings;
}
