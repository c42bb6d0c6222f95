import { apiCallProblem, type ApiCall } from '@tripline/model';
import { parseRecords } from './records.ts';

/** Takes a record that cannot be used, and why. */
export type OnUnreadable = (record: string, problem: string) => void;

/**
 * The API calls of a batch of `api-calls`. A record that is none goes to `onUnreadable` and is left out: whatever stands in a record
 * must not end the role.
 */
export function callsOf(body: Buffer, onUnreadable: OnUnreadable): ApiCall[] {
  const calls: ApiCall[] = [];
  for (const record of parseRecords(body)) {
    const problem = apiCallProblem(record);
    if (problem === undefined) calls.push(record as ApiCall);
    else
      onUnreadable(
        typeof record === 'string' ? record : JSON.stringify(record),
        problem === '' ? 'no JSON object' : `no API call: ${problem} is missing or has another type`,
      );
  }
  return calls;
}
