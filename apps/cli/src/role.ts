import { setFlagsFromString } from 'node:v8';
import { createLogger, type LoadedConfig } from '@tripline/runtime';
import { readOptions } from './options.ts';
import { startRoles, type RoleName, type Roles } from './system.ts';
import { runUntilStopped } from './up.ts';

/**
 * V8 takes the buffers that an archiver passes on for growth of its heap, and collects all of that after some 10 MB of them: a third of
 * the archiver's work. So it waits until there is twice as much as was left the last time. Only here: the heap is small and stays so.
 * For a processor with many actors V8 itself chooses better.
 */
const archiverFlags = '--heap-growing-percent=100';

/** `tripline collector|processor|archiver|responder`: one role in this process, until it is told to stop. */
export function role(name: RoleName): (args: string[]) => Promise<number> {
  return async (args) => {
    if (name === 'archiver') setFlagsFromString(archiverFlags);
    const { loaded } = readOptions(args, {});
    const logger = createLogger({ level: loaded.config.logLevel, pretty: process.stderr.isTTY });
    const roles = await startRoles({ loaded, logger, roles: [name] });
    introduce(name, roles, loaded);
    return runUntilStopped(roles);
  };
}

function introduce(name: RoleName, { config, collector, httpPort }: Roles, loaded: LoadedConfig): void {
  const { kafka } = config.bus;
  const lines = [
    ...(collector ? [`log lines   TCP on ${config.collector.host}:${collector.port}`] : []),
    `health      http://${config.http.host}:${httpPort}/healthz, /readyz and /metrics`,
    ...(kafka ? [`bus         Kafka at ${kafka.brokers.join(', ')}, topics ${kafka.topicPrefix}*`] : []),
    `config      ${loaded.file ?? 'environment and defaults'}`,
  ];
  process.stderr.write(`Tripline ${name} is running.\n${lines.map((line) => `  ${line}\n`).join('')}`);
}
