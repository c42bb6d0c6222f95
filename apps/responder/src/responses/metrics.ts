import { Counter, Gauge, Histogram } from 'prom-client';
import type { Response } from '@tripline/model';
import type { RoleContext } from '@tripline/runtime';

export type ResponseMetrics = ReturnType<typeof createResponseMetrics>;

/** Registers the metrics of responses; `responses` gives all that are known. */
export function createResponseMetrics(registry: RoleContext['metrics'], responses: () => Response[]) {
  const registers = [registry];
  new Gauge({
    name: 'tripline_responses',
    help: 'Responses that are in force, on their way, or ended not long ago, by status',
    labelNames: ['status'],
    registers,
    collect() {
      this.reset();
      for (const { status } of responses()) this.inc({ status });
    },
  });
  return {
    transitions: new Counter({
      name: 'tripline_response_changes_total',
      help: 'Responses that came to a status',
      labelNames: ['status'],
      registers,
    }),
    alerts: new Counter({
      name: 'tripline_responder_alerts_total',
      help: 'Alert records read by the responder: matched by a policy, unmatched, closed, stale, malformed',
      labelNames: ['outcome'],
      registers,
    }),
    refused: new Counter({
      name: 'tripline_responses_refused_total',
      help: 'Decisions that led to no response: limit of live responses, limit per minute, alert about nothing that the action can act on, unpublished dry runs',
      labelNames: ['reason'],
      registers,
    }),
    calls: new Counter({
      name: 'tripline_kong_admin_calls_total',
      help: 'Calls to the Kong Admin API by the responder',
      labelNames: ['operation', 'outcome'],
      registers,
    }),
    lastCompare: new Gauge({
      name: 'tripline_responder_last_reconcile_timestamp_seconds',
      help: 'When Kong was last seen to have exactly the plugins it should have',
      registers,
    }),
    activation: new Histogram({
      name: 'tripline_response_activation_seconds',
      help: 'From the decision to the confirmation of the Admin API',
      buckets: [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300],
      registers,
    }),
  };
}
