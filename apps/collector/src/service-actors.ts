import type { ApiCall } from '@tripline/model';

/** How many of a service's calls were made by whom, and why so. */
export interface ServiceActors {
  service: string;
  /** A Kong consumer. */
  consumer: number;
  /** A credential that Kong verified without a consumer. */
  kong: number;
  /** A credential that the operator declared in `services[].identity`. */
  declared: number;
  /** A credential of endpoints that were seen to verify it. */
  learnt: number;
  /** An address. */
  address: number;
  /** Of those of an address, calls that presented a credential which nobody is known to verify. */
  unverified: number;
}

const servicesMost = 500;
/** Beyond so many calls of a service all its counts are halved, so that they follow a change of configuration. */
const callsMost = 10_000;

/** Counts per service who acts. At most 500 services are counted; those that come later are not. */
export class ServiceActorCounts {
  readonly #services = new Map<string, ServiceActors>();

  saw(call: ApiCall): void {
    const { service } = call;
    if (service === undefined) return;
    let counts = this.#services.get(service);
    if (!counts) {
      if (this.#services.size >= servicesMost) return;
      // A copy: a piece of a line keeps all the bytes that came with it in memory.
      const name = Buffer.from(service).toString();
      counts = { service: name, consumer: 0, kong: 0, declared: 0, learnt: 0, address: 0, unverified: 0 };
      this.#services.set(name, counts);
    }
    if (call.actorKind === 'credential') counts[call.verifiedBy ?? 'kong']++;
    else counts[call.actorKind]++;
    if (call.actorKind === 'address' && call.presented === 'something' && call.status < 400)
      counts.unverified++;
    if (callsOf(counts) > callsMost) halve(counts);
  }

  /** Largest first. */
  report(): ServiceActors[] {
    return [...this.#services.values()].sort((a, b) => callsOf(b) - callsOf(a)).map((one) => ({ ...one }));
  }
}

function callsOf({ consumer, kong, declared, learnt, address }: ServiceActors): number {
  return consumer + kong + declared + learnt + address;
}

function halve(counts: ServiceActors): void {
  for (const by of ['consumer', 'kong', 'declared', 'learnt', 'address', 'unverified'] as const)
    counts[by] = Math.floor(counts[by] / 2);
}
