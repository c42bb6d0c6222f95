import { phaseSchema, randomFrom, type Phase, type PhaseInput } from './program.ts';

/**
 * A benign population for measuring false alerts: Zipf sizes (largest `largestPerMinute`), daily and weekly waves in any time
 * zone, a fifth of the consumers arriving later. A quarter are bursty (Pareto sessions, alpha 1.2-1.5), half are several
 * people behind one consumer (Pareto sessions on top of each other, the classical source of self-similar traffic), the rest
 * are Poisson, machines, and consumers with a nightly job.
 */
export function population(consumers: number, days: number, seed: number, largestPerMinute = 40): Phase[] {
  const random = randomFrom(seed);
  const phases: PhaseInput[] = [];
  for (let rank = 1; rank <= consumers; rank++) {
    const size = largestPerMinute * rank ** -0.9;
    const from = random() < 0.2 ? `${Math.floor(random() * days * 0.7)}d` : '0d';
    const profile = {
      peakToTrough: 2 + random() * 6,
      peakHour: Math.floor(random() * 24),
      weekend: 0.2 + random() * 0.8,
    };
    const service = ['orders', 'catalog', 'accounts'][rank % 3]!;
    const common = { consumer: `c${rank}`, from, until: `${days}d`, service };
    const sessions = (perMinute: number, onSeconds: number, offSeconds: number): PhaseInput['rate'] => ({
      kind: 'sessions',
      perMinute: (perMinute * (onSeconds + offSeconds)) / onSeconds,
      onSeconds,
      offSeconds,
      alpha: 1.2 + random() * 0.3,
    });
    const kind = random();
    if (kind < 0.25) {
      const onSeconds = 60 + random() * 600;
      const rate = sessions(size, onSeconds, onSeconds * (1 + random() * 20));
      phases.push({ ...common, rate, ...(random() < 0.7 ? { profile } : {}) });
    } else if (kind < 0.75) {
      const users = 3 + Math.floor(random() * 5);
      for (let user = 0; user < users; user++) {
        const onSeconds = 30 + random() * 300;
        phases.push({
          ...common,
          rate: sessions(size / users, onSeconds, onSeconds * (2 + random() * 30)),
          profile,
        });
      }
    } else if (kind < 0.85) {
      phases.push({ ...common, rate: { kind: 'poisson', perMinute: size }, profile });
    } else if (kind < 0.92) {
      phases.push({ ...common, rate: { kind: 'constant', perMinute: size, jitter: 0.3 } });
    } else {
      phases.push({ ...common, rate: { kind: 'poisson', perMinute: size / 4 }, profile });
      phases.push({
        ...common,
        rate: {
          kind: 'job',
          calls: 20 + Math.floor(random() * 1_500),
          everyMs: 40 + random() * 400,
          minute: Math.floor(random() * 60),
          hours: [Math.floor(random() * 24)],
          slipSeconds: 120,
        },
      });
    }
  }
  return phases.map((phase) => phaseSchema.parse(phase));
}

/** Days that the consumers of a population are there, all together. */
export function consumerDays(phases: readonly Phase[]): number {
  const days = new Map<string, number>();
  for (const phase of phases) days.set(phase.consumer, parseInt(phase.until) - parseInt(phase.from));
  return [...days.values()].reduce((sum, one) => sum + one, 0);
}
