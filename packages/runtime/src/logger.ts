import { pino, type DestinationStream, type Logger } from 'pino';
import pretty from 'pino-pretty';

export type { Logger } from 'pino';

/** JSON lines on standard error; for people at a terminal, short coloured ones. */
export function createLogger(options: {
  level: string;
  pretty: boolean;
  destination?: DestinationStream;
}): Logger {
  const { err } = pino.stdSerializers;
  // Under any other name an error would come out as {}.
  const base = { level: options.level, base: null, serializers: { err, error: err } };
  if (options.destination) return pino(base, options.destination);
  if (!options.pretty) return pino(base, standardError());
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

/** What waits to be written while standard error takes nothing, in bytes; further lines are dropped. */
const maxWaitingBytes = 4 * 2 ** 20;

/** Standard error may be a file on a full disk: lines wait, and go out with the next that is written when there is room. */
function standardError(): DestinationStream {
  const stream = pino.destination({ dest: 2, sync: false, maxLength: maxWaitingBytes });
  stream.on('error', () => undefined);
  return stream;
}
