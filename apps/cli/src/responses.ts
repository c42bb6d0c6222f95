import { describeTarget, type Response } from '@tripline/model';
import { UserError } from '@tripline/runtime';
import { readOptions } from './options.ts';
import { askRunning, runningUrl } from './running.ts';

/** `tripline responses list|lift ID`: asks the running Tripline. */
export async function responses(args: string[]): Promise<number> {
  const [what, ...rest] = args;
  if (what === 'list') return list(rest);
  if (what === 'lift') return lift(rest);
  throw new UserError('There are: tripline responses list, tripline responses lift ID.');
}

async function list(args: string[]): Promise<number> {
  const { loaded } = readOptions(args, {});
  const found = await askRunning<Response[]>(loaded, 'GET', '/responses');
  if (!found) throw new UserError(notRunning(runningUrl(loaded)));
  if (found.length === 0) process.stdout.write('No responses.\n');
  for (const one of found) {
    const until = one.expiresAt === null ? 'until lifted' : `until ${new Date(one.expiresAt).toISOString()}`;
    const problem = one.problem === null ? '' : `  (${one.problem})`;
    process.stdout.write(
      `${one.id}  ${one.status.padEnd(19)}  ${one.action.type} ${describeTarget(one.target)}, ${until}, by ${one.policyId}${problem}\n`,
    );
  }
  return 0;
}

async function lift(args: string[]): Promise<number> {
  const { loaded, positionals } = readOptions(args, {}, { names: ['the ID of a response'] });
  const path = `/responses/lift?id=${encodeURIComponent(positionals[0]!)}`;
  const lifted = await askRunning<Response>(loaded, 'POST', path);
  if (!lifted) throw new UserError(notRunning(runningUrl(loaded)));
  process.stdout.write(
    `Lifted: ${lifted.action.type} ${describeTarget(lifted.target)} (${lifted.status}).\n`,
  );
  return 0;
}

export function notRunning(url: string): string {
  return `No Tripline answers at ${url}. Start it (npm start), or give its configuration with --config.`;
}
