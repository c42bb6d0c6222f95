import { defaultSeed, demoKey, type KongStandIn, type StandInAnswer } from '@tripline/kong-stand-in';

/** One of the demo's consumers. */
export interface DemoConsumer {
  name: string;
  key: string;
  ip: string;
  userAgent: string;
}

const hourMs = 3_600_000;
const userAgents = [
  'okhttp/4.12.0',
  'python-requests/2.32.3',
  'Mozilla/5.0 (iPhone; CPU iPhone OS 17_5)',
  'shop-app/3.1',
];

/** Everybody of the stand-in's shop who has a key. */
export function demoConsumers(): DemoConsumer[] {
  return defaultSeed()
    .consumers!.filter((consumer) => consumer.username !== 'anonymous')
    .map((consumer, index) => ({
      name: String(consumer.username ?? consumer.custom_id),
      key: demoKey(consumer as { username?: string; custom_id?: string }),
      ip: `198.51.100.${10 + index}`,
      userAgent: userAgents[index % userAgents.length]!,
    }));
}

/** A small generator of numbers from 0 up to 1, the same for the same seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** One ordinary request. */
export function ordinaryRequest(
  kong: KongStandIn,
  consumer: DemoConsumer,
  random: () => number,
  startedAt?: number,
): StandInAnswer {
  const order = Math.floor(random() * 500) + 1_000;
  const path = ['/orders?page=1', `/orders/${order}`, '/accounts/users/42', `/catalog/products/${order}`][
    Math.floor(random() * 4)
  ]!;
  return send(kong, consumer, path, startedAt);
}

/** One request of the bombardment. */
export function attackRequest(kong: KongStandIn, consumer: DemoConsumer): StandInAnswer {
  return send(kong, consumer, '/orders?page=1');
}

function send(kong: KongStandIn, consumer: DemoConsumer, path: string, startedAt?: number): StandInAnswer {
  return kong.handle({
    method: 'GET',
    path,
    headers: { host: 'shop.example.com', apikey: consumer.key, 'user-agent': consumer.userAgent },
    clientIp: consumer.ip,
    ...(startedAt === undefined ? {} : { startedAt }),
  });
}

/**
 * The past week of all consumers, in order of time: in every hour two short visits each. Yields between hours, so that
 * the lines get away; `goesOn` is told the share of the week that is done, and ends it
 * by saying no. Gives the number of calls.
 */
export async function livePastWeek(
  kong: KongStandIn,
  consumers: readonly DemoConsumer[],
  nowMs: number,
  random: () => number,
  goesOn: (done: number) => boolean,
): Promise<number> {
  const hours = 7 * 24;
  let calls = 0;
  for (let hour = 0; hour < hours; hour++) {
    const begin = nowMs - (hours - hour) * hourMs;
    const visits = consumers
      .flatMap((consumer) => [0, 1].map(() => ({ consumer, at: begin + random() * (hourMs - 60_000) })))
      .sort((a, b) => a.at - b.at);
    for (const { consumer, at } of visits) {
      for (let call = 0; call < 6; call++) {
        ordinaryRequest(kong, consumer, random, Math.floor(at + call * 2_000));
        calls++;
      }
    }
    await kong.flushed();
    if (!goesOn((hour + 1) / hours)) break;
  }
  return calls;
}
