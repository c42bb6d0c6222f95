import { Counter, Gauge } from 'prom-client';
import type { RoleContext } from '@tripline/runtime';

/** How deliveries to one channel stand. */
export interface ChannelStatus {
  /** Id of the channel. */
  channel: string;
  /** Why messages do not get through, in words; null if they do. */
  problem: string | null;
  /** Messages that wait, digests among them. */
  waiting: number;
  /** Messages that will be counted in the next digests. */
  collecting: number;
  /** Messages that went to the dead letters since the start, and the last of them. */
  deadLetters: number;
  lastDeadLetter: { at: number; detail: string } | null;
}

/** The metrics of all channels together. Their label says `webhook`, since those came first. */
export interface DeliveryMetrics {
  attempts: Counter<'webhook' | 'outcome'>;
  collected: Counter<'webhook'>;
}

export function createDeliveryMetrics(
  registry: RoleContext['metrics'],
  statuses: () => ChannelStatus[],
): DeliveryMetrics {
  const registers = [registry];
  new Gauge({
    name: 'tripline_webhook_failing',
    help: '1 for each webhook that cannot be delivered at the moment',
    labelNames: ['webhook'],
    registers,
    collect() {
      this.reset();
      for (const { channel, problem } of statuses()) if (problem !== null) this.set({ webhook: channel }, 1);
    },
  });
  new Gauge({
    name: 'tripline_webhook_waiting_messages',
    help: 'Messages that wait to be delivered, digests among them',
    labelNames: ['webhook'],
    registers,
    collect() {
      this.reset();
      for (const { channel, waiting } of statuses()) this.set({ webhook: channel }, waiting);
    },
  });
  return {
    attempts: new Counter({
      name: 'tripline_webhook_deliveries_total',
      help: 'Attempts to deliver: delivered, failed, refused (4xx), gone (410); and messages given up (in the dead letters)',
      labelNames: ['webhook', 'outcome'],
      registers,
    }),
    collected: new Counter({
      name: 'tripline_webhook_collected_total',
      help: 'Messages that were not sent one by one, but counted in a digest',
      labelNames: ['webhook'],
      registers,
    }),
  };
}
