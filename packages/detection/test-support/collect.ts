import type { Alert } from '@tripline/model';
import type { DetectionOutput } from '../src/index.ts';

/** The alerts that a step of detection puts out, those for endpoints among them, in order. */
export function alertsFrom(step: (out: DetectionOutput) => void): Alert[] {
  const alerts: Alert[] = [];
  const take = (alert: Alert): void => void alerts.push(alert);
  step({ alert: take, toEndpoint: take });
  return alerts;
}
