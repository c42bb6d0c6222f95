import type { Alert } from '@tripline/model';

/** The alerts of a batch of the bus. What is no alert is told to `onMalformed` and left out. */
export function parseAlerts(body: Buffer, onMalformed: (problem: string) => void): Alert[] {
  const alerts: Alert[] = [];
  for (const line of body.toString().split('\n')) {
    if (line === '') continue;
    try {
      const value = JSON.parse(line) as Partial<Alert> | null;
      if (
        typeof value?.id !== 'string' ||
        typeof value.revision !== 'number' ||
        typeof value.lastSeenAt !== 'number' ||
        typeof value.raisedAt !== 'number' ||
        typeof value.actor?.id !== 'string' ||
        !Array.isArray(value.sources)
      ) {
        throw new Error('the record lacks id, revision, times, actor or sources');
      }
      alerts.push(value as Alert);
    } catch (error) {
      onMalformed(error instanceof Error ? error.message : String(error));
    }
  }
  return alerts;
}
