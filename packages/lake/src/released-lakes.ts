import { readFileSync } from 'node:fs';
import type { Lake } from './lake.ts';
import { foundation } from './migrate.ts';
import { forDeployment, migrations, readMigration } from './migrations.ts';

/** Test support: a lake as a released version of Tripline left it. */
export interface ReleasedLake {
  name: string;
  version: number;
  /** Makes its empty tables where there are none. */
  create: (lake: Pick<Lake, 'query'>, write: (sql: string) => Promise<void>) => Promise<void>;
}

const firstRelease = 'version-1-as-first-released.sql';

/** One for each prefix of the migrations, and version 1 as its first release made it, before its file got its final form. */
export const releasedLakes: readonly ReleasedLake[] = [
  {
    name: 'version 1 of the first release',
    version: 1,
    create: async (_, write) => {
      await createFirstRelease(write);
      await record(1, write);
    },
  },
  ...migrations.map((_, index) => ({
    name: `version ${index + 1}`,
    version: index + 1,
    create: async (lake: Pick<Lake, 'query'>, write: (sql: string) => Promise<void>) => {
      for (const statement of foundation) await write(forDeployment(statement, undefined));
      for (const [before, { neededIf, statements }] of migrations.slice(0, index + 1).entries()) {
        const needed =
          neededIf === undefined || (await lake.query<{ needed: number }>(neededIf))[0]?.needed === 1;
        if (needed) for (const statement of statements) await write(forDeployment(statement, undefined));
        await record(before + 1, write);
      }
    },
  })),
];

/** The tables of the first release, as a crash left them before it recorded that version 1 was applied. */
export async function createFirstRelease(write: (sql: string) => Promise<void>): Promise<void> {
  const text = readFileSync(new URL(`fixtures/${firstRelease}`, import.meta.url), 'utf8');
  for (const statement of readMigration(firstRelease, text).statements) await write(statement);
}

/** Records that a migration was applied. */
export function record(version: number, write: (sql: string) => Promise<void>): Promise<void> {
  return write(
    `INSERT INTO tripline.migrations SELECT ${version}, 'as released', now() SETTINGS async_insert = 0`,
  );
}
