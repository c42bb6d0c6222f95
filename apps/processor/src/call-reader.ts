import { recordsOf } from '@tripline/bus';
import { readApiCall, type ApiCall } from '@tripline/model';

/** Takes a record that cannot be used, and why. */
export type OnUnreadable = (record: string, problem: string) => void;

/**
 * The API calls of a batch of `api-calls`. A record that is none goes to `onUnreadable` and is left out: whatever stands in a record
 * must not end the role.
 */
export function callsOf(body: Buffer, onUnreadable: OnUnreadable): ApiCall[] {
  const calls: ApiCall[] = [];
  for (const record of recordsOf(body)) {
    const call = readApiCall(record);
    if (typeof call === 'string') onUnreadable(record.toString(), call);
    else calls.push(call);
  }
  return calls;
}
