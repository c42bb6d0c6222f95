import {
  createDetection,
  detectionConfigSchema,
  registry,
  type DetectionConfig,
  type DetectionOutput,
  type Detector,
} from '@tripline/detection';
import type { ApiCall } from '@tripline/model';

export interface DetectorCost {
  /** Of its settings; `all` is the whole fold over an actor's calls. */
  name: string;
  /** Ns of CPU per call beyond the fold without any detector. */
  nsPerCall: number;
  /** Bytes of an actor's encoded state beyond that without any detector, on average over all actors; what is kept per endpoint is not in it. */
  stateBytes: number;
}

const actors = 200;
const callsOfOne = 400;

/** Ordinary calls: a few endpoints with ids, one network each, some failures; a day by event time. */
function ordinaryCalls(): ApiCall[] {
  const startMs = Date.UTC(2026, 2, 2);
  return Array.from({ length: actors * callsOfOne }, (_, n): ApiCall => {
    const actor = n % actors;
    const turn = Math.floor(n / actors);
    const object = (actor * 31 + turn * 7) % 40;
    return {
      id: `call-${n}`.padStart(12, '0'),
      startedAt: startMs + turn * 216_000 + actor * 1_000,
      actorKind: 'consumer',
      actorId: `consumer-${actor}`,
      actorName: `consumer-${actor}`,
      consumerId: `consumer-${actor}`,
      credential: `~key~${actor}`,
      ip: `192.0.2.${actor}`,
      country: 'NO',
      city: 'Oslo',
      latitude: 59.91,
      longitude: 10.75,
      asn: 64_500 + (actor % 20),
      method: 'GET',
      path: `/orders/${object}`,
      endpoint: 'GET /orders/{id}',
      service: 'orders',
      route: 'orders-read',
      userAgent: 'client/1.0',
      status: turn % 40 === 7 ? 401 : turn % 40 === 9 ? 404 : 200,
      // Some log others in, and are refused now and then.
      ...(turn % 40 === 7 ? { user: `~user~${actor}`, auth: 'failure' } : {}),
      source: 'upstream',
      requestBytes: 300 + object,
      responseBytes: 1_000,
      latencyMs: 12,
    };
  });
}

/** What each detector over an actor's own calls costs when it is the only one, and all of them together. */
export function detectorCosts(): DetectorCost[] {
  const calls = ordinaryCalls();
  // What many actors do on an endpoint is judged by the minute, not by the call.
  const names = registry
    .filter((detector: Detector) => detector.ofActor !== undefined || detector.ofEndpoint !== undefined)
    .map(({ setting }) => setting);
  const nowhere: DetectionOutput = { alert: () => undefined, toEndpoint: () => undefined };
  const configOf = (on: (name: string) => boolean): DetectionConfig =>
    detectionConfigSchema.parse(Object.fromEntries(names.map((name) => [name, { enabled: on(name) }])));
  const kinds = [
    { name: 'none', config: configOf(() => false) },
    ...names.map((one) => ({ name: one, config: configOf((name) => name === one) })),
    { name: 'all', config: configOf(() => true) },
  ];
  const times = kinds.map((): number[] => []);
  const bytes = kinds.map(() => 0);
  // In turns, so that all meet the same moments of the machine; the first rounds warm the compiler up.
  for (let round = 0; round < 7; round++) {
    for (const [index, { config }] of kinds.entries()) {
      const detection = createDetection(config);
      const states = Array.from({ length: actors }, () => detection.actors.decode(undefined));
      const peers = detection.peers.decode(undefined);
      const endpoint = detection.endpoints.decode(undefined);
      const episodes = detection.endpointEpisodes.decode(undefined);
      const began = process.cpuUsage();
      for (const [n, call] of calls.entries()) {
        detection.fold(states[n % actors]!, peers, call, nowhere);
        if (detection.keysOf(call).endpoint !== undefined)
          detection.foldEndpoint(endpoint, episodes, call, nowhere);
      }
      const { user, system } = process.cpuUsage(began);
      if (round >= 2) times[index]!.push(((user + system) * 1_000) / calls.length);
      bytes[index] = states.reduce((sum, state) => sum + detection.actors.encode(state).length, 0) / actors;
    }
  }
  // Whatever disturbs a round makes it longer, so the shortest is the nearest to the truth.
  const least = times.map((list) => Math.min(...list));
  return kinds.slice(1).map(({ name }, index) => ({
    name,
    nsPerCall: Math.max(0, Math.round(least[index + 1]! - least[0]!)),
    stateBytes: Math.round(bytes[index + 1]! - bytes[0]!),
  }));
}
