import type { ApiCall } from '@tripline/model';

/** Calls of a service by the kind of actor that they are counted for, and why. */
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
  /** The client's address. */
  address: number;
  /** Calls of an address that presented a credential which no one is known to verify. */
  unverified: number;
}

const maxServices = 500;
/** Beyond so many calls of a service its counts are halved, so that they follow a change of configuration. */
const maxCalls = 10_000;

/** Counts the calls of each service by kind of actor. At most 500 services are counted; later ones are left out. */
export class ServiceActorCounts {
  readonly #services = new Map<string, ServiceActors>();

  saw(call: ApiCall): void {
    const { service } = call;
    if (service === undefined) return;
    let counts = this.#services.get(service);
    if (!counts) {
      if (this.#services.size >= maxServices) return;
      // A copy: a substring of a line would keep the whole chunk of the socket in memory.
      const name = Buffer.from(service).toString();
      counts = { service: name, consumer: 0, kong: 0, declared: 0, learnt: 0, address: 0, unverified: 0 };
      this.#services.set(name, counts);
    }
    if (call.actorKind === 'credential') counts[call.verifiedBy ?? 'kong']++;
    else counts[call.actorKind]++;
    if (call.actorKind === 'address' && call.presented === 'something' && call.status < 400)
      counts.unverified++;
    if (callsOf(counts) > maxCalls) halve(counts);
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
