import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { alertTypes } from '@tripline/detection';
import { describeTarget, durationMs, type Alert } from '@tripline/model';
import {
  decide,
  operatorPlugins,
  parsePolicies,
  predictEffect,
  type OperatorPlugins,
  type Policies,
} from '@tripline/policy';
import { createLogger, resolvePath, UserError, type LoadedConfig } from '@tripline/runtime';
import { createBackends } from './backends.ts';
import { readOptions } from './options.ts';
import { askRunning, runningUrl } from './running.ts';
import { createConfiguredAdmin, createConfiguredSanitizer } from './configured.ts';

/** `tripline policies check FILE`, `tripline policies test FILE --since 24h`. */
export async function policies(args: string[]): Promise<number> {
  const [what, ...rest] = args;
  if (what === 'check') return check(rest);
  if (what === 'test') return test(rest);
  throw new UserError('There are: tripline policies check FILE, tripline policies test FILE [--since 24h].');
}

function check(args: string[]): number {
  const { positionals } = readOptions(args, {}, { names: ['a policy FILE'] });
  const file = positionals[0]!;
  const parsed = parsePolicies(read(file), { alertTypes });
  if (parsed.ok) {
    const { length } = parsed.policies.policies;
    process.stdout.write(`${file}: ${length} ${length === 1 ? 'policy' : 'policies'}, no problems.\n`);
    return 0;
  }
  for (const one of parsed.problems) {
    process.stdout.write(
      `${file}:${one.line}:${one.column}: ${one.path === '' ? '' : `${one.path}: `}${one.message}\n`,
    );
  }
  return 1;
}

async function test(args: string[]): Promise<number> {
  const { positionals, values, loaded } = readOptions(
    args,
    { since: { type: 'string', default: '24h' } },
    { names: ['a policy FILE'] },
  );
  const file = positionals[0]!;
  const since = values.since;
  const backMs = durationMs(since);
  if (backMs === null)
    throw new UserError(`--since: "${since}" is not allowed; a number with s, m, h or d, such as 24h.`);
  const dataDir = resolvePath(loaded, loaded.config.dataDir);
  const sinceMs = Math.max(0, Date.now() - backMs);
  const running = await askRunning<Alert[]>(loaded, 'GET', `/alerts?since=${sinceMs}`);
  if (!running && !loaded.config.lake.clickhouse && !existsSync(join(dataDir, 'lake')))
    throw new UserError(
      `There are no alerts to test with: no Tripline answers at ${runningUrl(loaded)}, and ${dataDir} holds no lake.`,
    );
  const sanitizer = createConfiguredSanitizer(loaded, dataDir);
  const parsed = parsePolicies(read(file), {
    alertTypes,
    mask: (name) => sanitizer.identifier(name),
  });
  if (!parsed.ok) throw new UserError(`${file} has mistakes; see tripline policies check ${file}.`);
  const alerts = running ?? (await alertsOf(loaded, dataDir, sinceMs));
  const kong = await pluginsOfKong(loaded);
  let acted = 0;
  for (const alert of alerts) {
    const lines = whatItWouldDo(parsed.policies, alert, kong.operators);
    if (lines.length === 0) continue;
    acted++;
    process.stdout.write(
      `${new Date(alert.raisedAt).toISOString()}  ${alert.severity} ${alert.type}  ${alert.actor.name}\n${lines.join('')}`,
    );
  }
  process.stdout.write(
    `${alerts.length} ${alerts.length === 1 ? 'alert' : 'alerts'} in the last ${since}; these policies would have acted on ${acted}.\n`,
  );
  if (kong.problem !== null) {
    process.stdout.write(`What the plugins in Kong leave of it is not known: ${kong.problem}\n`);
  }
  return 0;
}

/** As they are now, not as they were when the alerts were raised. */
async function pluginsOfKong(
  loaded: LoadedConfig,
): Promise<{ operators?: OperatorPlugins; problem: string | null }> {
  const admin = createConfiguredAdmin(loaded);
  if (!admin) return { problem: null };
  try {
    return { operators: operatorPlugins(await admin.plugins()), problem: null };
  } catch (error) {
    return { problem: (error as Error).message };
  } finally {
    await admin.close();
  }
}

function whatItWouldDo(policies: Policies, alert: Alert, operators?: OperatorPlugins): string[] {
  return decide(policies, alert).map((decision) => {
    const dry = decision.dryRun ? ' (dry run)' : '';
    if (decision.kind === 'notify') return `    ${decision.policyId}: notify ${decision.channel}${dry}\n`;
    if (decision.kind === 'no-target') {
      return `    ${decision.policyId}: nothing: ${decision.action.type} needs a ${decision.allowed.join(' or ')}, this is about ${alert.actor.kind} ${alert.actor.name}\n`;
    }
    const remark = operators ? predictEffect(decision.action, decision.target, operators) : null;
    const then = remark === null ? '' : `\n        ${remark}`;
    return `    ${decision.policyId}: ${decision.action.type} ${describeTarget(decision.target)} for ${decision.action.duration}${dry}${then}\n`;
  });
}

/** From the lake itself, as no Tripline runs that could be asked. */
async function alertsOf(loaded: LoadedConfig, dataDir: string, sinceMs: number): Promise<Alert[]> {
  const logger = createLogger({ level: 'silent', pretty: false });
  const backends = createBackends({ loaded, dataDir, logger, now: Date.now });
  try {
    const lake = await backends.lake();
    // Tables on a server are the archiver's to bring to its version.
    if (!loaded.config.lake.clickhouse)
      await lake.migrate({ retentionDays: loaded.config.lake.retentionDays });
    return await lake.alertsSince(sinceMs);
  } finally {
    await backends.close();
  }
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new UserError(`${file} cannot be read: ${(error as Error).message}`);
  }
}
