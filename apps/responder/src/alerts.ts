import { recordsOf } from '@tripline/bus';
import { alertProblem, type Alert } from '@tripline/model';

/** Parses the alerts of a batch of the bus. Records that are no alerts are reported, without their values, and left out. */
export function parseAlerts(body: Buffer, onMalformed: (problem: string) => void): Alert[] {
  const alerts: Alert[] = [];
  for (const record of recordsOf(body)) {
    const problem = problemOf(record.toString(), alerts);
    if (problem !== undefined) onMalformed(problem);
  }
  return alerts;
}

function problemOf(text: string, alerts: Alert[]): string | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return 'the record is no JSON';
  }
  const field = alertProblem(value);
  if (field === '') return 'the record is no JSON object';
  if (field !== undefined) return `the record is no alert: ${field} is missing or has another type`;
  alerts.push(value as Alert);
  return undefined;
}
