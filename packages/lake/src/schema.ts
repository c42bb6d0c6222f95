import { apiCallFields, type ApiCall } from '@tripline/model';
import type { LakeTable } from './lake.ts';

/** The columns of `api_calls` and their types: the fields of an API call under their own names. */
export const apiCallColumns = Object.fromEntries(
  apiCallFields.map(({ name, column }) => [name, column]),
) as Record<keyof ApiCall, string>;

/** Alerts and responses go to one column as the JSON that they are; the table takes the others out of it. */
export const tables: Record<LakeTable, { name: string; textColumn?: string }> = {
  apiCalls: { name: 'tripline.api_calls' },
  alerts: { name: 'tripline.alerts', textColumn: 'alert' },
  responses: { name: 'tripline.responses', textColumn: 'response' },
};
