import { createLogger, type LoadedConfig } from '@tripline/runtime';
import { readOptions } from './options.ts';
import { startRoles, type RoleName, type Roles } from './system.ts';
import { runUntilStopped } from './up.ts';

/** `tripline collector|processor|archiver|responder`: one role in this process, until it is told to stop. */
export function role(name: RoleName): (args: string[]) => Promise<number> {
  return async (args) => {
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
