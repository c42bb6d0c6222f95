import type { Status } from '../running.ts';
import type { Finding } from './finding.ts';

/** Does every role keep up with its topic, and did it lose records by being behind? */
export function checkLag(status: Status): Finding[] {
  const findings = status.lag.flatMap((row): Finding[] => [
    ...(row.records > 100_000
      ? [
          {
            level: 'warn' as const,
            what: `lag: ${row.group} is ${row.records} records behind on ${row.topic}`,
          },
        ]
      : []),
    ...(row.lost === undefined
      ? []
      : [
          {
            level: 'warn' as const,
            what: `lost: ${row.group} was so far behind on ${row.topic} that ${row.lost} records were let go before it read them`,
            advice:
              row.group === 'archiver'
                ? 'The lake has a gap. Is it reachable and fast enough (/readyz)? A larger bus.maxBytes bridges longer outages.'
                : 'What read too slowly missed them: see /readyz. A larger bus.maxBytes bridges longer outages.',
          },
        ]),
  ]);
  return findings.length > 0 ? findings : [{ level: 'ok', what: 'lag: every role keeps up' }];
}
