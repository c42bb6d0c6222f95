import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ServiceActorCounts } from '@tripline/app-collector';
import { alertTypes } from '@tripline/detection';
import { describeTarget, type Alert } from '@tripline/model';
import { decide, parsePolicies, type Policies } from '@tripline/policy';
import { onSignals, resolvePath, UserError, type LoadedConfig } from '@tripline/runtime';
import { createSanitizer, type Sanitizer } from '@tripline/sanitize';
import { createEmbeddedState } from '@tripline/state';
import { openInput, print } from './lines.ts';
import { readOptions } from './options.ts';
import { shareOf, showProgress } from './progress.ts';
import { createConfiguredSanitizer } from './configured.ts';
import { describeActors } from './doctor/who-acts.ts';
import { ReplayPipeline, type ReplayedLine } from './replay-pipeline.ts';

/**
 * Without a key file of the operator's own the tokens of a replay are made with this one, so that the same input gives
 * the same alerts everywhere.
 */
const replayKey = Buffer.from('tripline replay: not a secret, only a constant');

/** `tripline replay`: recorded lines through normalising, sanitising, detection and policies, by event time. */
export async function replay(args: string[]): Promise<number> {
  const { values, positionals, loaded } = readOptions(
    args,
    { alerts: { type: 'string' }, policies: { type: 'string' } },
    { names: ['a FILE of log lines, or - for standard input'] },
  );
  const file = positionals[0]!;
  const sanitizer = replaySanitizer(loaded);
  const policies = readPolicies(values.policies, loaded, sanitizer);
  const input = openInput(file);
  const output: (text: string) => void | Promise<void> =
    values.alerts === undefined ? print : intoFile(values.alerts);
  const scratch = mkdtempSync(join(tmpdir(), 'tripline-replay-'));
  // However it ends: done, interrupted, or because nobody reads its output any more.
  process.once('exit', () => rmSync(scratch, { recursive: true, force: true }));
  const forget = onSignals(() => process.exit(130));
  const state = createEmbeddedState({ path: scratch });
  const summary = newSummary();
  const stopProgress = showProgress(() => `${summary.lines} lines${shareOf(file, summary.bytes)}`);
  try {
    const write = async (alerts: readonly Alert[]): Promise<void> => {
      for (const alert of alerts) {
        summary.latest.set(alert.id, alert);
        if (alert.status !== 'closed') continue;
        summary.latest.delete(alert.id);
        summarise(summary, alert, policies);
        await output(`${JSON.stringify(alert)}\n`);
      }
    };
    const pipeline = await ReplayPipeline.open({ loaded, sanitizer, state, write });
    for await (const chunk of input) {
      summary.bytes += (chunk as Buffer).length;
      await pipeline.take(chunk as Buffer, (result) => countLine(summary, result));
    }
    await pipeline.end((result) => countLine(summary, result));
    summary.duplicates = pipeline.duplicates;
  } finally {
    stopProgress();
    forget();
    await state.close();
  }
  process.stderr.write(describeSummary(summary, policies));
  if (summary.lines === 0 || summary.lines > rejectedOf(summary)) return 0;
  process.stderr.write(
    `No line of ${file} was accepted. A line is one JSON object as Kong's tcp-log or http-log writes it.\n`,
  );
  return 1;
}

/** Counts what became of a line. */
function countLine(summary: Summary, result: ReplayedLine): void {
  summary.lines++;
  if (result.kind === 'rejected') reject(summary, result.reason);
  else if (result.kind === 'stream-session') summary.streamSessions++;
  else {
    const { call } = result;
    summary.services.saw(call);
    if (summary.actors.size < 10_000_000) summary.actors.add(`${call.actorKind}:${call.actorId}`);
    summary.from = Math.min(summary.from, call.startedAt);
    summary.to = Math.max(summary.to, call.startedAt);
  }
}

/** Writes to a new file, at once, so that a full disk is told where it happens. Throws a `UserError` if it cannot. */
function intoFile(path: string): (text: string) => void {
  const mind = <Result>(work: () => Result): Result => {
    try {
      return work();
    } catch (error) {
      throw new UserError(`--alerts: ${path} cannot be written: ${(error as Error).message}`);
    }
  };
  const file = mind(() => openSync(path, 'w'));
  return (text) => mind(() => writeFileSync(file, text));
}

interface Summary {
  lines: number;
  bytes: number;
  rejected: Map<string, number>;
  /** Lines of TCP and TLS sessions, which are no API calls. */
  streamSessions: number;
  duplicates: number;
  actors: Set<string>;
  services: ServiceActorCounts;
  from: number;
  to: number;
  alerts: Map<string, number>;
  responses: Map<string, number>;
  /** Alerts that are still open, in their last state. */
  latest: Map<string, Alert>;
}

function newSummary(): Summary {
  return {
    lines: 0,
    bytes: 0,
    rejected: new Map(),
    streamSessions: 0,
    duplicates: 0,
    actors: new Set(),
    services: new ServiceActorCounts(),
    from: Infinity,
    to: -Infinity,
    alerts: new Map(),
    responses: new Map(),
    latest: new Map(),
  };
}

function rejectedOf(summary: Summary): number {
  return [...summary.rejected.values()].reduce((sum, count) => sum + count, 0);
}

function reject(summary: Summary, reason: string): void {
  summary.rejected.set(reason, (summary.rejected.get(reason) ?? 0) + 1);
}

function summarise(summary: Summary, alert: Alert, policies: Policies): void {
  summary.alerts.set(alert.type, (summary.alerts.get(alert.type) ?? 0) + 1);
  for (const decision of decide(policies, alert)) {
    if (decision.kind === 'no-target') continue;
    const what =
      decision.kind === 'notify'
        ? `notify ${decision.channel}`
        : `${decision.action.type} ${describeTarget(decision.target)}`;
    const line = `${decision.policyId}: ${what}${decision.dryRun ? ' (dry run)' : ''}`;
    summary.responses.set(line, (summary.responses.get(line) ?? 0) + 1);
  }
}

function describeSummary(summary: Summary, policies: Policies): string {
  const list = (counts: Map<string, number>): string =>
    counts.size === 0
      ? ' none'
      : [...counts].map(([name, count]) => `\n    ${String(count).padStart(7)}  ${name}`).join('');
  const rejected = rejectedOf(summary);
  const span =
    summary.from <= summary.to
      ? `${new Date(summary.from).toISOString()} to ${new Date(summary.to).toISOString()}`
      : 'no accepted line';
  return [
    `Replayed ${summary.lines} lines (${span})`,
    `  accepted    ${summary.lines - rejected - summary.streamSessions}, of which ${summary.duplicates} were duplicates`,
    `  rejected    ${rejected}${rejected === 0 ? '' : list(summary.rejected)}`,
    ...(summary.streamSessions === 0
      ? []
      : [`  sessions    ${summary.streamSessions} of TCP and TLS routes, which are no API calls`]),
    `  actors      ${summary.actors.size}`,
    ...summary.services
      .report()
      .slice(0, 20)
      .map((actors) => `    on ${actors.service}: ${describeActors(actors)}`),
    `  alerts     ${list(summary.alerts)}`,
    `  responses  ${policies.policies.length === 0 ? ' no policies were given' : list(summary.responses)}`,
    '',
  ].join('\n');
}

function replaySanitizer(loaded: LoadedConfig): Sanitizer {
  const { keyFile, secretNames, secretPatterns } = loaded.config.sanitize;
  return keyFile === undefined
    ? createSanitizer({ key: replayKey, secretNames, secretPatterns })
    : createConfiguredSanitizer(loaded, '');
}

/** Those of the option must be there and right; those of the configuration are used if they are there. */
function readPolicies(path: string | undefined, loaded: LoadedConfig, sanitizer: Sanitizer): Policies {
  const from = path ?? resolvePath(loaded, loaded.config.policiesFile);
  let text: string;
  try {
    text = readFileSync(from, 'utf8');
  } catch (error) {
    if (path === undefined) return { policies: [] };
    throw new UserError(`The policies ${from} cannot be read: ${(error as Error).message}`);
  }
  const parsed = parsePolicies(text, { alertTypes, mask: (name) => sanitizer.identifier(name) });
  if (parsed.ok) return parsed.policies;
  const problems = parsed.problems.map((one) => `  line ${one.line}: ${one.path} ${one.message}`);
  throw new UserError(`${from} has mistakes:\n${problems.join('\n')}`);
}
