import { createReadStream, createWriteStream, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AggregateFold, aggregateRecords, PartitionFold } from '@tripline/app-processor';
import { openGeo } from '@tripline/app-collector';
import { createTemplateLearner, FrameSplitter } from '@tripline/kong';
import type { Alert, Policies } from '@tripline/model';
import { decide, parsePolicies } from '@tripline/policy';
import { resolvePath, UserError, type LoadedConfig } from '@tripline/runtime';
import { createSanitizer, type Sanitizer } from '@tripline/sanitize';
import { createEmbeddedState } from '@tripline/state';
import { readOptions } from './options.ts';
import {
  createConfiguredDetection,
  createConfiguredNormaliser,
  createConfiguredSanitizer,
} from './system.ts';

/** So many lines are folded at a time, and the states checkpointed after so many. */
const batchLines = 2_000;
const checkpointLines = 200_000;

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
  const output: NodeJS.WritableStream =
    values.alerts === undefined ? process.stdout : createWriteStream(values.alerts);
  const scratch = mkdtempSync(join(tmpdir(), 'tripline-replay-'));
  const state = createEmbeddedState({ path: scratch });
  const summary = newSummary();
  const stopProgress = showProgress(() => `${summary.lines} lines${shareOf(file, summary.bytes)}`);
  try {
    const { cityFile, asnFile } = loaded.config.geo;
    const locate = await openGeo({
      cityFile: cityFile && resolvePath(loaded, cityFile),
      asnFile: asnFile && resolvePath(loaded, asnFile),
    });
    const normalise = createConfiguredNormaliser(loaded.config, sanitizer, createTemplateLearner(), locate);
    const { detection, endpointDetection } = createConfiguredDetection(loaded.config);
    const fold = new PartitionFold({
      detection,
      aggregates: endpointDetection.enabled,
      state: await state.claim(0),
      maxActorsInMemory: () => 100_000,
      rememberedIds: 1_000_000,
      onUnreadable: () => undefined,
      onRelearn: () => undefined,
    });
    const aggregateFold = new AggregateFold({
      detection: endpointDetection,
      state: await state.claim(1),
      sources: 1,
      onUnreadable: () => undefined,
      onRelearn: () => undefined,
    });
    await fold.open();

    const write = async (alerts: readonly Alert[]): Promise<void> => {
      for (const alert of alerts) {
        summary.latest.set(alert.id, alert);
        if (alert.status !== 'closed') continue;
        summary.latest.delete(alert.id);
        summarise(summary, alert, policies);
        if (!output.write(`${JSON.stringify(alert)}\n`)) {
          await new Promise<void>((resolve) => output.once('drain', () => resolve()));
        }
      }
    };

    // Written last: where among the others they would come depends on how many lines are folded at a time.
    const endpointAlerts: Alert[] = [];
    const foldAggregates = async (): Promise<void> => {
      const records = fold.emissions.flatMap((emission) => aggregateRecords(emission, 1));
      if (records.length === 0) return;
      const body = Buffer.from(`${records.map(({ value }) => value).join('\n')}\n`);
      endpointAlerts.push(...(await aggregateFold.fold(body)));
      fold.emitted();
    };
    let gathered: string[] = [];
    const foldGathered = async (): Promise<void> => {
      if (gathered.length === 0) return;
      const body = Buffer.from(`${gathered.join('\n')}\n`);
      gathered = [];
      await write(await fold.fold(body));
      await foldAggregates();
    };
    let saved = 0;
    const splitter = new FrameSplitter(loaded.config.collector.maxLineBytes);
    const take: Parameters<FrameSplitter['push']>[1] = (frame) => {
      summary.lines++;
      if (frame.kind === 'too-long') {
        reject(summary, 'too-long');
        return;
      }
      const result = normalise(frame, Infinity);
      if (result.kind === 'rejected') reject(summary, result.reason);
      else {
        gathered.push(JSON.stringify(result.call));
        if (summary.actors.size < 10_000_000)
          summary.actors.add(`${result.call.actorKind}:${result.call.actorId}`);
        summary.from = Math.min(summary.from, result.call.startedAt);
        summary.to = Math.max(summary.to, result.call.startedAt);
      }
    };
    for await (const chunk of input) {
      summary.bytes += (chunk as Buffer).length;
      splitter.push(chunk as Buffer, take);
      if (gathered.length >= batchLines) await foldGathered();
      if (summary.lines - saved >= checkpointLines) {
        saved = summary.lines;
        await fold.checkpoint(summary.lines);
        await aggregateFold.checkpoint(summary.lines);
      }
    }
    splitter.end(take);
    await foldGathered();
    // The input ends, and with it every episode that has not.
    await write(await fold.closeUntil(Number.MAX_SAFE_INTEGER));
    fold.rest();
    await foldAggregates();
    endpointAlerts.push(...(await aggregateFold.closeUntil(Number.MAX_SAFE_INTEGER)));
    await write(endpointAlerts);
    summary.duplicates = fold.counts.duplicates;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EISDIR')
      throw new UserError(`${file} is a directory, not a file.`);
    throw error;
  } finally {
    stopProgress();
    await state.close();
    rmSync(scratch, { recursive: true, force: true });
  }
  if (output !== process.stdout) await new Promise<void>((resolve) => output.end(() => resolve()));
  process.stderr.write(describeSummary(summary, policies));
  return 0;
}

interface Summary {
  lines: number;
  bytes: number;
  rejected: Map<string, number>;
  duplicates: number;
  actors: Set<string>;
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
    duplicates: 0,
    actors: new Set(),
    from: Infinity,
    to: -Infinity,
    alerts: new Map(),
    responses: new Map(),
    latest: new Map(),
  };
}

function reject(summary: Summary, reason: string): void {
  summary.rejected.set(reason, (summary.rejected.get(reason) ?? 0) + 1);
}

function summarise(summary: Summary, alert: Alert, policies: Policies): void {
  summary.alerts.set(alert.type, (summary.alerts.get(alert.type) ?? 0) + 1);
  for (const decision of decide(policies, alert)) {
    if (decision.kind === 'no-consumer') continue;
    const what =
      decision.kind === 'notify'
        ? `notify ${decision.webhook}`
        : `${decision.action.type} ${decision.consumer.name}`;
    const line = `${decision.policyId}: ${what}${decision.dryRun ? ' (dry run)' : ''}`;
    summary.responses.set(line, (summary.responses.get(line) ?? 0) + 1);
  }
}

function describeSummary(summary: Summary, policies: Policies): string {
  const list = (counts: Map<string, number>): string =>
    counts.size === 0
      ? ' none'
      : [...counts].map(([name, count]) => `\n    ${String(count).padStart(7)}  ${name}`).join('');
  const rejected = [...summary.rejected.values()].reduce((sum, count) => sum + count, 0);
  const span =
    summary.from <= summary.to
      ? `${new Date(summary.from).toISOString()} to ${new Date(summary.to).toISOString()}`
      : 'no accepted line';
  return [
    `Replayed ${summary.lines} lines (${span})`,
    `  accepted    ${summary.lines - rejected}, of which ${summary.duplicates} were duplicates`,
    `  rejected    ${rejected}${rejected === 0 ? '' : list(summary.rejected)}`,
    `  actors      ${summary.actors.size}`,
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
  const parsed = parsePolicies(text, (name) => sanitizer.text(name));
  if (parsed.ok) return parsed.policies;
  const problems = parsed.problems.map((one) => `  line ${one.line}: ${one.path} ${one.message}`);
  throw new UserError(`${from} has mistakes:\n${problems.join('\n')}`);
}

function openInput(file: string): NodeJS.ReadableStream {
  if (file === '-') return process.stdin;
  try {
    if (statSync(file).isDirectory()) throw new Error('it is a directory');
  } catch (error) {
    throw new UserError(`${file} cannot be read: ${(error as Error).message}`);
  }
  return createReadStream(file, { highWaterMark: 1 << 20 });
}

function shareOf(file: string, bytes: number): string {
  if (file === '-') return '';
  const size = statSync(file).size;
  const share = size === 0 ? 1 : bytes / size;
  return `  [${'='.repeat(Math.floor(share * 30)).padEnd(30)}] ${Math.floor(share * 100)} %`;
}

/** A line on a terminal that is written over, elsewhere one every 10 s; returns how to end it. */
function showProgress(text: () => string): () => void {
  const terminal = process.stderr.isTTY;
  const timer = setInterval(
    () => process.stderr.write(terminal ? `\r${text()}\u001b[K` : `${text()}\n`),
    terminal ? 200 : 10_000,
  );
  return () => {
    clearInterval(timer);
    if (terminal) process.stderr.write('\r\u001b[K');
  };
}
