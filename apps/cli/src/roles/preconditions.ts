import { mkdirSync } from 'node:fs';
import { UserError, type Config } from '@tripline/runtime';
import { lockDirectory } from '../lock.ts';
import { roleNames, type RoleName } from './names.ts';

/** True if some roles of this Tripline run in other processes. */
export function runApart(roles: readonly RoleName[]): boolean {
  return roles.length < roleNames.length;
}

export /** Throws a `UserError` if roles could not reach each other, or would not agree on tokens. */
function checkSharedSettings(config: Config, roles: readonly RoleName[]): void {
  const problems: string[] = [];
  const alone = runApart(roles);
  const needs = (role: RoleName): boolean => alone && roles.includes(role);
  if (alone && !config.bus.kafka)
    problems.push('bus.kafka.brokers: missing; roles that run apart meet on Kafka');
  if (needs('processor') || needs('responder')) {
    if (!config.state.redis)
      problems.push('state.redis.url: missing; who takes a partition over finds its state in Redis');
  }
  if (needs('archiver') && config.lake.enabled && !config.lake.clickhouse)
    problems.push('lake.clickhouse.url: missing; the lake of several archivers is a ClickHouse server');
  if (needs('archiver') && !config.lake.enabled)
    problems.push('lake.enabled: is false, so there is nothing for an archiver to do');
  const masks = roles.includes('collector') || roles.includes('responder');
  if (masks && config.bus.kafka && config.sanitize.keyFile === undefined) {
    problems.push(
      'sanitize.keyFile: missing; equal secrets must give equal tokens on every collector, so all of them need the same ' +
        'key. Make one: openssl rand -base64 32 > token.key',
    );
  }
  if (problems.length === 0) return;
  const who = alone ? `tripline ${roles.join(', ')}` : 'tripline up on Kafka';
  throw new UserError(
    `${who} cannot run with this configuration:\n${problems.map((one) => `  ${one}`).join('\n')}`,
  );
}

/** Names of the LMDB directories that this configuration needs. */
export function embeddedStores({ bus, state }: Config): string[] {
  return [
    ...(bus.kafka ? [] : ['bus']),
    ...(state.redis ? [] : ['state-processor', 'state-aggregates', 'state-responder']),
  ];
}

/** Makes the data directory if it is missing and locks it for this process. Returns a function that unlocks it. */
export function takeDirectory(dataDir: string): () => void {
  try {
    mkdirSync(dataDir, { recursive: true });
    return lockDirectory(dataDir);
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(
      `dataDir: ${dataDir} cannot be used: ${(error as Error).message}. ` +
        'Set it to a directory that this user may write to, on a disk with room.',
    );
  }
}
