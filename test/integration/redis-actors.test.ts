import { describe, expect, it } from 'vitest';
import { learnedStates, measureRedisActors } from '../bench/redis-actors.ts';
import { skipWithout } from '../engines/needs.ts';

describe.skipIf(await skipWithout('the size of an idle actor in Redis', 'Redis'))(
  'an idle actor in Redis',
  () => {
    it('takes less than 900 bytes, its key and the tables included', async () => {
      const { redisBytesPerIdleActor } = await measureRedisActors(10_000, learnedStates(20));
      expect(redisBytesPerIdleActor).toBeLessThan(900);
    });
  },
);
