/**
 * An error that is the reader's to mend: its message says what, where, which value, what is allowed and what to do. The
 * command line prints it without a stack and exits with status 2.
 */
export class UserError extends Error {
  override name = 'UserError';
}
