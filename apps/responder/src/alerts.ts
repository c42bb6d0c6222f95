import { severities, type Alert } from '@tripline/model';

/** The last moment that a date can be, ms. */
const timeMax = 8.64e15;

/** The alerts of a batch of the bus. What is no alert is reported to `onMalformed` and left out. */
export function parseAlerts(body: Buffer, onMalformed: (problem: string) => void): Alert[] {
  const alerts: Alert[] = [];
  for (const line of body.toString().split('\n')) {
    if (line === '') continue;
    try {
      const value = JSON.parse(line) as Partial<Alert> | null;
      if (
        typeof value?.id !== 'string' ||
        typeof value.revision !== 'number' ||
        typeof value.type !== 'string' ||
        !severities.includes(value.severity!) ||
        !isTime(value.lastSeenAt) ||
        !isTime(value.raisedAt) ||
        typeof value.actor?.id !== 'string' ||
        typeof value.actor.name !== 'string' ||
        typeof value.summary !== 'string' ||
        !Array.isArray(value.sources) ||
        !value.sources.every((source) => typeof (source as { ip?: unknown } | null)?.ip === 'string')
      ) {
        throw new Error('the record lacks id, revision, type, severity, times, actor, summary or sources');
      }
      alerts.push(value as Alert);
    } catch (error) {
      onMalformed(error instanceof Error ? error.message : String(error));
    }
  }
  return alerts;
}

function isTime(value: unknown): boolean {
  return typeof value === 'number' && Math.abs(value) <= timeMax;
}
