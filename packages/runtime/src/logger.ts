import { pino, type DestinationStream, type Logger } from 'pino';
import pretty from 'pino-pretty';

export type { Logger } from 'pino';

/** JSON lines on standard error; for people at a terminal, short coloured ones. */
export function createLogger(options: {
  level: string;
  pretty: boolean;
  destination?: DestinationStream;
}): Logger {
  const base = { level: options.level, base: null };
  if (options.destination) return pino(base, options.destination);
  if (!options.pretty) return pino(base, pino.destination({ dest: 2, sync: false }));
  const stream = pretty({
    destination: 2,
    sync: true,
    colorize: process.stderr.isTTY,
    translateTime: 'HH:MM:ss',
    ignore: 'role',
    messageFormat: '{role}: {msg}',
  });
  return pino(base, stream);
}
