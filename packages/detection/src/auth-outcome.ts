import type { ApiCall } from '@tripline/model';

/**
 * Whether the call was refused for the credentials that it presented, whatever the HTTP status. A challenge, where nothing was
 * presented, is no failure.
 */
export function isAuthFailure({ auth }: ApiCall): boolean {
  return auth === 'failure';
}

/**
 * Whether a login endpoint accepted the call's credentials. Where the line says nothing about credentials, any answer of 2xx or
 * 3xx counts. A challenge is no success.
 */
export function isAuthSuccess({ auth, status }: ApiCall): boolean {
  if (auth !== undefined) return auth === 'success';
  return status >= 200 && status < 400;
}

/** Whether the call was refused for a credential that is merely past its time: nobody guesses such ones. */
export function isExpired({ auth }: ApiCall): boolean {
  return auth === 'expired';
}
