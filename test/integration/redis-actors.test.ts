import { describe, expect, it } from 'vitest';
import { learnedStates, measureRedisActors } from '../bench/redis-actors.ts';
import { skipWithoutRedis } from '../engines/redis.ts';

describe.skipIf(await skipWithoutRedis())('an idle actor in Redis', () => {
  it('takes less than 980 bytes, its key and the tables included', async () => {
    const { redisBytesPerIdleActor } = await measureRedisActors(10_000, learnedStates(20));
    expect(redisBytesPerIdleActor).toBeLessThan(980);
  });
});
