/**
 * An error that is the reader's to mend: its message says what, where, which value, what is allowed and what to do. The
 * command line prints it without a stack and exits with status 2.
 */
export class UserError extends Error {
  override name = 'UserError';
}

/** Why a server cannot listen, and that the port at `key` of the configuration is to be changed. */
export function listenError(
  error: NodeJS.ErrnoException,
  place: { host: string; port: number; key: string },
): UserError {
  const { host, port, key } = place;
  const why =
    error.code === 'EADDRINUSE'
      ? 'another program has it (a second Tripline?)'
      : error.code === 'EACCES'
        ? 'ports below 1024 need privileges'
        : error.message;
  return new UserError(`Cannot listen on ${host}:${port}: ${why}. Set ${key} to another port.`);
}
