import { existsSync, readFileSync } from 'node:fs';
import { forgeryProblems } from '@tripline/app-responder';
import { alertTypes } from '@tripline/detection';
import { actions as allActions, parsePolicies } from '@tripline/policy';
import { resolvePath } from '@tripline/runtime';
import type { Finding, Subject } from './finding.ts';

/** Can the policies be read, may they act, and does each notify somebody? */
export function checkPolicies({ loaded }: Subject): Finding[] {
  const path = resolvePath(loaded, loaded.config.policiesFile);
  if (!existsSync(path))
    return [{ level: 'note', what: `policies: there is no ${path}, so alerts lead to no responses` }];
  const text = readFileSync(path, 'utf8');
  const parsed = parsePolicies(text, { alertTypes });
  if (!parsed.ok) {
    const { length } = parsed.problems;
    const first = parsed.problems[0]!;
    return [
      {
        level: 'fail',
        what: `policies: ${path} has ${length === 1 ? 'a problem' : `${length} problems`}, first line ${first.line}: ${first.path} ${first.message}`,
        advice: `tripline policies check ${path}`,
      },
    ];
  }
  const { policies } = parsed.policies;
  const findings: Finding[] = [{ level: 'ok', what: `policies: ${policies.length} in ${path}` }];
  for (const one of forgeryProblems(text, parsed.policies, loaded.config.collector))
    findings.push({ level: 'fail', what: `policies: line ${one.line}: ${one.path} ${one.message}` });
  const known = loaded.config.webhooks.map(({ id }) => id);
  for (const { id, actions } of policies) {
    for (const action of actions) {
      const channel = allActions.channelOf(action);
      if (channel === undefined || known.includes(channel)) continue;
      findings.push({
        level: 'warn',
        what: `policies: ${id} notifies nobody: there is no webhook ${channel}`,
        advice: `Add it to webhooks in tripline.json; there ${known.length === 1 ? 'is' : 'are'} ${known.join(', ') || 'none'}.`,
      });
    }
  }
  return findings;
}
