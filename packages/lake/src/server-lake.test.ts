import { createClient } from '@clickhouse/client';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  startClickhouse,
  startClickhouseFront,
  type Clickhouse,
  type ClickhouseFront,
} from '../../../test/engines/clickhouse.ts';
import { lakeContract } from './lake.contract.ts';
import type { Lake } from './lake.ts';
import { openServerLake, refuseOldServer } from './server-lake.ts';

lakeContract('lake on a server', async () => {
  const server = await startClickhouse();
  let lake = openServerLake(server);
  return {
    lake,
    reopen: async () => {
      await lake.close();
      lake = openServerLake(server);
      return lake;
    },
    write: (sql) => command(server, sql),
    dispose: async () => {
      await lake.close();
      await server.dispose();
    },
  };
});

async function command({ url, username, password }: Clickhouse, sql: string): Promise<void> {
  const client = createClient({ url, username, password });
  await client.command({ query: sql });
  await client.close();
}
