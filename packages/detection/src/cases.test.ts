import { readdirSync, readFileSync } from 'node:fs';
import { alertTypes, severities, type ApiCall } from '@tripline/model';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { loginsOf, loginsSchema } from '../test-support/logins.ts';
import { callsOf, offsetMs, phaseSchema } from '../test-support/program.ts';
import { EndpointPipeline } from '../test-support/run-endpoints.ts';
import { run } from '../test-support/run.ts';
import { createDetection, createEndpointDetection, detectionConfigSchema } from './index.ts';

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

const root = new URL('../cases/', import.meta.url);

function read<T extends z.ZodType>(schema: T, name: string, file: string): z.infer<T> {
  return schema.parse(JSON.parse(readFileSync(new URL(`${name}/${file}`, root), 'utf8')));
}

describe('golden cases', () => {
  for (const name of readdirSync(root).sort()) {
    const golden = read(caseSchema, name, 'case.json');
    const expected = read(expectedSchema, name, 'expected.json').alerts;
    const startMs = Date.parse(golden.start);
    for (const seed of golden.seeds) {
      it(`${name}${golden.seeds.length > 1 ? ` (seed ${seed})` : ''}: ${golden.proves}`, () => {
        const { exceptions } = golden;
        const config = detectionConfigSchema.parse({
          requestSpike: { exceptions },
          objectEnumeration: { exceptions },
          pathProbing: { exceptions },
          // Looks at every value that is asked for, so it costs the most; here it has something to see only where calls ask.
          abnormalParameters: { exceptions, enabled: golden.traffic.some(({ asks }) => asks !== undefined) },
        });
        const calls: Iterable<ApiCall> =
          golden.logins.length > 0
            ? loginsOf(golden.logins, startMs, seed)
            : callsOf(golden.traffic, startMs, seed);
        const endpoints = new EndpointPipeline(createEndpointDetection(config));
        const perActor = run(
          createDetection(config),
          calls,
          (call) => endpoints.add(call),
          (alert) => endpoints.report(alert),
        );
        endpoints.end();
        const revisions = [...perActor.revisions, ...endpoints.run.alerts];
        const alerts = [...new Map(revisions.map((alert) => [alert.id, alert])).values()];

        const found = alerts.map(
          (alert) => `${alert.actor.id} at ${describeMs(alert.raisedAt - startMs)}: ${alert.summary}`,
        );
        expect(found, `number of alerts: ${found.join('\n')}`).toHaveLength(expected.length);
        const byTime = alerts.toSorted(
          (a, b) => a.raisedAt - b.raisedAt || (a.actor.id < b.actor.id ? -1 : 1),
        );
        for (const one of expected) {
          const at = byTime.findIndex(
            (alert) =>
              alert.actor.id === one.actor &&
              alert.raisedAt >= startMs + offsetMs(one.raisedFrom) &&
              alert.raisedAt <= startMs + offsetMs(one.raisedUntil),
          );
          expect(
            at,
            `alert of ${one.actor} within ${one.raisedFrom} and ${one.raisedUntil}; found: ${found.join('\n')}`,
          ).not.toBe(-1);
          const [alert] = byTime.splice(at, 1);
          expect(alert!.type).toBe(one.type);
          if (one.service !== undefined) expect(alert!.service).toBe(one.service);
          if (one.severity !== undefined) expect(alert!.severity).toBe(one.severity);
          if (one.learning !== undefined) expect(alert!.evidence['learning']).toBe(one.learning);
          for (const reason of one.because)
            expect(JSON.stringify([alert!.evidence['facts'], alert!.evidence['signs']])).toContain(
              `"${reason}"`,
            );
        }

        for (const alert of alerts) {
          const states = revisions.filter((revision) => revision.id === alert.id);
          expect(states.map((state) => state.revision)).toEqual(states.map((_, index) => index + 1));
          expect(states.map((state) => state.status)).toEqual([
            ...states.slice(1).map(() => 'open'),
            'closed',
          ]);
          expect(alert.observed.value).toBeGreaterThan(alert.expected.high);
          expect(alert.startedAt).toBeLessThanOrEqual(alert.raisedAt);
          expect(alert.sources.length).toBeGreaterThan(0);
          expect(alert.sampleCallIds.length).toBeGreaterThan(0);
        }
      });
    }
  }
});

function describeMs(ms: number): string {
  return `${Math.floor(ms / 86_400_000)}d${Math.floor(ms / 3_600_000) % 24}h${Math.floor(ms / 60_000) % 60}m${Math.floor(ms / 1000) % 60}s`;
}
