import { readdirSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { severities, type Alert, type ApiCall } from '@tripline/model';
import { z } from 'zod';
import { alertTypes, createDetection, createEndpointDetection, detectionConfigSchema } from '../src/index.ts';
import type { Sensitivity } from '../src/baseline/sensitivity.ts';
import { loginsOf, loginsSchema } from './logins.ts';
import { callsOf, phaseSchema } from './program.ts';
import { EndpointPipeline } from './run-endpoints.ts';
import { run } from './run.ts';

const caseSchema = z.strictObject({
  proves: z.string(),
  catalogue: z.string(),
  start: z.iso.datetime(),
  seeds: z.array(z.int()).min(1),
  exceptions: z.array(z.unknown()).default([]),
  /** Either calls of consumers, or logins. */
  traffic: z.array(phaseSchema).default([]),
  logins: z.array(loginsSchema).default([]),
});

/** The alerts of the whole case, in the order in which they are raised; `alerts: []` means none. */
const expectedSchema = z.strictObject({
  alerts: z.array(
    z.strictObject({
      type: z.enum(alertTypes).default('request-spike'),
      actor: z.string(),
      /** Bounds of the event time of the first revision, as offsets from the start. */
      raisedFrom: z.string(),
      raisedUntil: z.string(),
      service: z.string().optional(),
      /** Of the last revision. */
      severity: z.enum(severities).optional(),
      learning: z.string().optional(),
      /** Among the facts or signs of the evidence. */
      because: z.array(z.string()).default([]),
    }),
  ),
});

export interface GoldenCase extends z.infer<typeof caseSchema> {
  name: string;
  startMs: number;
  expected: z.infer<typeof expectedSchema>['alerts'];
}

const root = new URL('../src/detectors/', import.meta.url);

function read<T extends z.ZodType>(schema: T, folder: URL, file: string): z.infer<T> {
  return schema.parse(JSON.parse(readFileSync(new URL(file, folder), 'utf8')));
}

/** The cases of every detector (`src/detectors/<alert type>/cases/<name>/`), by name. */
export function goldenCases(): GoldenCase[] {
  const folders = readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('case.json'))
    .map((path) => new URL(path.slice(0, -'case.json'.length), root));
  return folders
    .map((folder) => {
      const golden = read(caseSchema, folder, 'case.json');
      const expected = read(expectedSchema, folder, 'expected.json').alerts;
      return { ...golden, name: basename(folder.pathname), startMs: Date.parse(golden.start), expected };
    })
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Runs a case with every detector at the sensitivity: all revisions, and the last one of each alert. */
export function runGolden(
  { exceptions, traffic, logins, startMs }: GoldenCase,
  seed: number,
  sensitivity: Sensitivity = 'normal',
): { revisions: Alert[]; alerts: Alert[] } {
  const config = detectionConfigSchema.parse({
    requestSpike: { exceptions, sensitivity },
    credentialStuffing: { sensitivity },
    bruteForce: { sensitivity },
    staleCredential: { sensitivity },
    objectEnumeration: { exceptions, sensitivity },
    dataScraping: { exceptions, sensitivity },
    pathProbing: { exceptions, sensitivity },
    impossibleTravel: { sensitivity },
    credentialSharing: { sensitivity },
    abnormalParameter: {
      exceptions,
      sensitivity,
      // Looks at every value that is asked for, so it costs the most; here it has something to see only where calls ask.
      enabled: traffic.some(({ asks }) => asks !== undefined),
    },
  });
  const calls: Iterable<ApiCall> =
    logins.length > 0 ? loginsOf(logins, startMs, seed) : callsOf(traffic, startMs, seed);
  const endpoints = new EndpointPipeline(createEndpointDetection(config));
  const perActor = run(
    createDetection(config),
    calls,
    (call) => endpoints.add(call),
    (alert) => endpoints.report(alert),
  );
  endpoints.end();
  const revisions = [...perActor.revisions, ...endpoints.run.alerts];
  return { revisions, alerts: [...new Map(revisions.map((alert) => [alert.id, alert])).values()] };
}
