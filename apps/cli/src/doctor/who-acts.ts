import type { ServiceActors } from '@tripline/app-collector';
import type { Finding } from './finding.ts';

/** Services that doctor lists, largest first. */
const servicesShown = 20;
const callsLeast = 50;

const reasons = {
  consumer: 'consumers',
  kong: 'credentials that Kong verified',
  declared: 'declared credentials (services[].identity)',
  learnt: 'credentials that its endpoints verify',
  address: 'addresses',
} as const;

/** Who acts on a service and why, `consumers 90 %, addresses 10 %`, most first. */
export function describeActors(actors: ServiceActors): string {
  const all = callsOf(actors);
  return (Object.keys(reasons) as (keyof typeof reasons)[])
    .filter((by) => actors[by] > 0)
    .sort((a, b) => actors[b] - actors[a])
    .map((by) => `${reasons[by]} ${Math.max(1, Math.round((100 * actors[by]) / all))} %`)
    .join(', ');
}

/** For each service who acts and why, and what would make it better: half of what detection is worth hangs on it. */
export function checkWhoActs(services: readonly ServiceActors[]): Finding[] {
  const findings = services.slice(0, servicesShown).map((actors): Finding => {
    const what = `who acts on ${actors.service}: ${describeActors(actors)}`;
    const all = callsOf(actors);
    if (all < callsLeast) return { level: 'note', what: `${what} (of only ${all} calls)` };
    if (actors.unverified < 0.3 * all) return { level: 'ok', what };
    return {
      level: 'warn',
      what: `${what}; ${Math.round((100 * actors.unverified) / all)} % present a credential that nobody is known to verify`,
      advice:
        `If ${actors.service} authenticates callers itself, say in services[].identity of tripline.json what the caller is ` +
        '(header, cookie, query or claim). Until then their addresses act.',
    };
  });
  if (services.length > servicesShown)
    findings.push({
      level: 'note',
      what: `who acts: ${services.length - servicesShown} more services, see /status`,
    });
  return findings;
}

function callsOf({ consumer, kong, declared, learnt, address }: ServiceActors): number {
  return consumer + kong + declared + learnt + address;
}
