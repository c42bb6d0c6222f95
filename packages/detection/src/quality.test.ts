import { describe, expect, it } from 'vitest';
import { consumerDays, population } from '../test-support/population.ts';
import { callsOf } from '../test-support/program.ts';
import { run } from '../test-support/run.ts';
import { createDetection, detectionConfigSchema } from './index.ts';

// Larger by hand: TRIPLINE_QUALITY=200x28x3 (consumers x days x seeds) npx vitest run packages/detection/src/quality
const [consumers = 30, days = 28, seeds = 1] = (process.env['TRIPLINE_QUALITY'] ?? '30x28x1')
  .split('x')
  .map(Number);
const startMs = Date.parse('2026-03-02T00:00:00Z');

describe('quality on a benign population with heavy tails', () => {
  it(`raises at most 1 false alert per 1,000 consumer-days (${consumers} consumers, ${days} days, ${seeds} seeds)`, () => {
    let total = 0;
    const found: string[] = [];
    for (let seed = 1; seed <= seeds; seed++) {
      // The default population is kept small in calls, so that the gate takes seconds.
      const phases = population(
        consumers,
        days,
        seed,
        process.env['TRIPLINE_QUALITY'] === undefined ? 8 : 40,
      );
      total += consumerDays(phases);
      const { alerts } = run(
        createDetection(detectionConfigSchema.parse({ abnormalParameter: { enabled: false } })),
        callsOf(phases, startMs, seed),
      );
      for (const alert of alerts) found.push(`seed ${seed}: ${alert.summary} (score ${alert.score})`);
    }
    console.log(`${found.length} false alerts in ${total} consumer-days`);
    expect(found.length / (total / 1_000), found.join('\n')).toBeLessThanOrEqual(1);
  }, 3_600_000);
});
