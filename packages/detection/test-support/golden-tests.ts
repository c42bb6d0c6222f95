import { describe, expect, it } from 'vitest';
import { repeats } from '../../../test/support/thorough.ts';
import { goldenCases, runGolden, type GoldenCase } from './golden.ts';
import { offsetMs } from './program.ts';

/** Tests of those golden cases that `isOne`: each raises the alerts that it lists, and no other. */
export function testGoldenCases(isOne: (golden: GoldenCase) => boolean): void {
  describe('golden cases', () => {
    for (const golden of goldenCases().filter(isOne)) {
      const { name, startMs, expected } = golden;
      for (const seed of golden.seeds.slice(0, repeats(1, golden.seeds.length))) {
        it(`${name}${golden.seeds.length > 1 ? ` (seed ${seed})` : ''}: ${golden.proves}`, () => {
          const { revisions, alerts } = runGolden(golden, seed);

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
}

function describeMs(ms: number): string {
  return `${Math.floor(ms / 86_400_000)}d${Math.floor(ms / 3_600_000) % 24}h${Math.floor(ms / 60_000) % 60}m${Math.floor(ms / 1000) % 60}s`;
}
