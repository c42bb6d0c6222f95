import { alertTypes } from '@tripline/detection';
import type { Alert, AlertType } from '@tripline/model';
import { createSanitizer } from '@tripline/sanitize';
import { createToApiCall } from '../traffic/api-call.ts';
import type { Label, TrafficOptions } from '../traffic/stage.ts';
import { createTraffic } from '../traffic/traffic.ts';
import { judge } from './match.ts';
import { openPipeline } from './pipeline.ts';

export interface VariantResult {
  title: string;
  /** Not counted in the detector's figures: the catalogue leaves it open. */
  optional: boolean;
  planted: number;
  found: number;
  /** From the attack's first request to the alert; null if none was found. */
  secondsToAlertP50: number | null;
  /** Requests of the attack up to the alert. */
  requestsToAlertP50: number | null;
  /** Intensity and evasion of those that were not found. */
  missed: { seed: number; parameters: Label['parameters'] }[];
}

export interface DetectorResult {
  /** Share of the planted attacks that were found; null if none was planted. */
  recall: number | null;
  falsePer1000ConsumerDays: number;
  /** Alerts that find an attack, per attack found; null if none was found. */
  alertsPerEpisode: number | null;
  planted: number;
  found: number;
  secondsToAlertP50: number | null;
  requestsToAlertP50: number | null;
  falseAlerts: number;
  /** Alerts about an attack of quite another type. */
  collateral: number;
  /** False alerts by the harmless oddity (or `crowd`) that caused them, most first. */
  falseBy: Record<string, number>;
  /** Up to 20 of them, to look into. */
  falseSamples: { seed: number; scenario: string; summary: string; startedAt: string }[];
  byVariant: Record<string, VariantResult>;
}

export interface Evaluation {
  seeds: readonly number[];
  days: number;
  consumers: number;
  consumerDays: number;
  calls: number;
  /** Accounts that attackers opened, and those of them that alerts about the attack name. */
  openedAccounts: { opened: number; named: number };
  /** Harmless oddities with the number of their requests, so that each is seen to have occurred. */
  benign: Record<string, number>;
  detectors: Record<AlertType, DetectorResult>;
}

interface Outcome {
  seed: number;
  label: Label;
  alerts: Alert[];
}

/** What one seed comes to. A structured clone of it is as good: seeds run in threads of their own. */
export interface SeedResult {
  seed: number;
  calls: number;
  consumerDays: number;
  benign: Record<string, number>;
  openedAccounts: Evaluation['openedAccounts'];
  outcomes: Outcome[];
  falses: { seed: number; alert: Alert; scenario: string }[];
  collateral: Alert[];
}

/**
 * Simulates the traffic of one seed, folds it as the processor does, and compares the alerts with what was planted.
 * `progress` is told about each simulated day.
 */
export async function evaluateSeed(
  options: TrafficOptions,
  progress?: (text: string) => void,
): Promise<SeedResult> {
  const { seed } = options;
  const sanitizer = createSanitizer({ key: Buffer.alloc(32, 'evaluate') });
  const run = await simulate(options, sanitizer, progress);
  const result: SeedResult = {
    seed,
    calls: run.calls,
    consumerDays: [...run.consumerDays.values()].reduce((sum, days) => sum + days, 0),
    benign: {},
    openedAccounts: { opened: 0, named: 0 },
    outcomes: [],
    falses: [],
    collateral: [],
  };
  const byLabel = new Map<Label, Alert[]>();
  for (const [alert, verdict] of judge(run.alerts, run.labels)) {
    if (verdict.kind === 'finds')
      for (const label of verdict.labels) byLabel.set(label, [...(byLabel.get(label) ?? []), alert]);
    else if (verdict.kind === 'collateral') result.collateral.push(alert);
    else if (verdict.kind === 'false') result.falses.push({ seed, alert, scenario: verdict.scenario });
  }
  const { benign, openedAccounts } = result;
  for (const label of run.labels) {
    if (label.kind === 'benign') {
      benign[label.variant] = (benign[label.variant] ?? 0) + label.calls;
      continue;
    }
    const alerts = (byLabel.get(label) ?? []).sort((a, b) => a.raisedAt - b.raisedAt);
    result.outcomes.push({ seed, label, alerts });
    const evidence = JSON.stringify(alerts.map((alert) => alert.evidence));
    openedAccounts.opened += label.openedAccounts.size;
    for (const account of label.openedAccounts)
      if (evidence.includes(sanitizer.token('user', account))) openedAccounts.named++;
  }
  return result;
}

/** The figures of all seeds together. */
export function evaluationOf(
  { days, consumers }: Pick<TrafficOptions, 'days' | 'consumers'>,
  results: readonly SeedResult[],
): Evaluation {
  const sum = (of: (result: SeedResult) => number): number =>
    results.reduce((total, result) => total + of(result), 0);
  const consumerDays = sum((result) => result.consumerDays);
  const outcomes = results.flatMap((result) => result.outcomes);
  const falses = results.flatMap((result) => result.falses);
  const collateral = results.flatMap((result) => result.collateral);
  const benign: Record<string, number> = {};
  for (const result of results)
    for (const [variant, calls] of Object.entries(result.benign))
      benign[variant] = (benign[variant] ?? 0) + calls;
  const detectors = Object.fromEntries(
    alertTypes.map((type) => [
      type,
      resultOf(
        outcomes.filter(({ label }) => label.type === type),
        falses.filter(({ alert }) => alert.type === type),
        collateral.filter((alert) => alert.type === type).length,
        consumerDays,
      ),
    ]),
  ) as Evaluation['detectors'];
  return {
    seeds: results.map(({ seed }) => seed),
    days,
    consumers,
    consumerDays: Math.round(consumerDays),
    calls: sum((result) => result.calls),
    openedAccounts: {
      opened: sum((result) => result.openedAccounts.opened),
      named: sum((result) => result.openedAccounts.named),
    },
    benign,
    detectors,
  };
}

async function simulate(
  options: TrafficOptions,
  sanitizer: ReturnType<typeof createSanitizer>,
  progress: ((text: string) => void) | undefined,
): Promise<{ alerts: Alert[]; labels: Label[]; calls: number; consumerDays: Map<string, number> }> {
  const { stage, locate } = createTraffic(options);
  const toApiCall = createToApiCall(sanitizer, locate);
  const pipeline = await openPipeline(stage.exceptions);
  const latest = new Map<string, Alert>();
  const keep = (alerts: readonly Alert[]): void => {
    for (const alert of alerts) latest.set(alert.id, alert);
  };
  let calls = 0;
  let hours = 0;
  try {
    for (const { requests } of stage.blocks()) {
      keep(await pipeline.take(requests.map(toApiCall)));
      calls += requests.length;
      if (++hours % 24 === 0)
        progress?.(
          `seed ${options.seed}: day ${hours / 24} of ${options.days}, ${calls} calls, ${latest.size} alerts`,
        );
    }
    keep(await pipeline.end());
  } finally {
    await pipeline.close();
  }
  for (const label of stage.labels) label.times.sort((a, b) => a - b);
  return { alerts: [...latest.values()], labels: stage.labels, calls, consumerDays: stage.consumerDays };
}

function resultOf(
  outcomes: readonly Outcome[],
  falses: readonly { seed: number; alert: Alert; scenario: string }[],
  collateral: number,
  consumerDays: number,
): DetectorResult {
  const counted = outcomes.filter(({ label }) => !label.optional);
  const found = counted.filter(({ alerts }) => alerts.length > 0);
  const variants = new Map<string, Outcome[]>();
  for (const outcome of outcomes) {
    const { variant } = outcome.label;
    variants.set(variant, [...(variants.get(variant) ?? []), outcome]);
  }
  const byScenario = new Map<string, number>();
  for (const { scenario } of falses) byScenario.set(scenario, (byScenario.get(scenario) ?? 0) + 1);
  return {
    recall: counted.length === 0 ? null : round(found.length / counted.length),
    falsePer1000ConsumerDays: round((falses.length / consumerDays) * 1_000),
    alertsPerEpisode:
      found.length === 0
        ? null
        : round(found.reduce((sum, { alerts }) => sum + alerts.length, 0) / found.length),
    planted: counted.length,
    found: found.length,
    secondsToAlertP50: median(found.map(secondsToAlert)),
    requestsToAlertP50: median(found.map(requestsToAlert)),
    falseAlerts: falses.length,
    collateral,
    falseBy: Object.fromEntries([...byScenario].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1))),
    falseSamples: falses.slice(0, 20).map(({ seed, alert, scenario }) => ({
      seed,
      scenario,
      summary: alert.summary,
      startedAt: new Date(alert.startedAt).toISOString(),
    })),
    byVariant: Object.fromEntries(
      [...variants]
        .sort((a, b) => Number(a[0].split(':')[1]) - Number(b[0].split(':')[1]))
        .map(([variant, of]) => [variant, variantOf(of)]),
    ),
  };
}

function variantOf(outcomes: readonly Outcome[]): VariantResult {
  const found = outcomes.filter(({ alerts }) => alerts.length > 0);
  const { title, optional } = outcomes[0]!.label;
  return {
    title,
    optional,
    planted: outcomes.length,
    found: found.length,
    secondsToAlertP50: median(found.map(secondsToAlert)),
    requestsToAlertP50: median(found.map(requestsToAlert)),
    missed: outcomes
      .filter(({ alerts }) => alerts.length === 0)
      .map(({ seed, label }) => ({ seed, parameters: label.parameters })),
  };
}

function secondsToAlert({ label, alerts }: Outcome): number {
  return Math.max(0, (alerts[0]!.raisedAt - label.startedAt) / 1_000);
}

function requestsToAlert({ label, alerts }: Outcome): number {
  return label.times.filter((time) => time <= alerts[0]!.raisedAt).length;
}

function median(values: readonly number[]): number | null {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted.length === 0 ? null : Math.round(sorted[Math.floor(sorted.length / 2)]!);
}

function round(value: number): number {
  return Math.round(value * 1_000) / 1_000;
}
