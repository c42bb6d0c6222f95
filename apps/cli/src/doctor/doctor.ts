import { readOptions } from '../options.ts';
import { askRunning, type Status } from '../running.ts';
import { checkDataDirectory } from './data-directory.ts';
import type { Check, Finding, Subject } from './finding.ts';
import { checkAdminApi } from './kong.ts';
import { checkTraffic } from './lines.ts';
import { checkPolicies } from './policies.ts';
import { checkServers } from './servers.ts';
import { checkDelivery } from './webhooks.ts';

/** All checks, in the order in which their findings are printed. */
const checks: readonly Check[] = [
  checkConfiguration,
  checkPolicies,
  checkDataDirectory,
  checkServers,
  checkTraffic,
  checkDelivery,
  checkAdminApi,
];

/** `tripline doctor`: exit status 1 if anything fails. */
export async function doctor(args: string[]): Promise<number> {
  const { loaded } = readOptions(args, {});
  let status: Promise<Status | undefined> | undefined;
  const subject: Subject = {
    loaded,
    status: () => (status ??= askRunning<Status>(loaded, 'GET', '/status')),
  };
  const counts = { ok: 0, note: 0, warn: 0, fail: 0 };
  for (const check of checks) {
    for await (const finding of check(subject)) {
      print(finding);
      counts[finding.level]++;
    }
  }
  const { fail, warn } = counts;
  process.stdout.write(fail + warn === 0 ? '\nAll is well.\n' : `\n${fail} failed, ${warn} to look at.\n`);
  return fail > 0 ? 1 : 0;
}

function checkConfiguration({ loaded }: Subject): Finding[] {
  return [{ level: 'ok', what: `configuration: ${loaded.file ?? 'defaults (no tripline.json here)'}` }];
}

function print({ level, what, advice }: Finding): void {
  const below = advice === undefined ? '' : `      ${advice}\n`;
  process.stdout.write(`${level.toUpperCase().padEnd(5)} ${what}\n${below}`);
}
