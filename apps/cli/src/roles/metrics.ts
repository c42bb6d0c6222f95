import type { Bus } from '@tripline/bus';
import { freeBytesOf, Gauge, type RoleContext } from '@tripline/runtime';
import type { Backends } from '../backends.ts';

export function reportLag(context: RoleContext, bus: Bus): void {
  new Gauge({
    name: 'tripline_bus_lag_records',
    help: 'Records that a group has not dealt with yet.',
    labelNames: ['topic', 'group'],
    registers: [context.metrics],
    async collect() {
      this.reset();
      for (const { topic, group, records } of await bus.lag()) this.set({ topic, group }, records);
    },
  });
}

export function reportBackends(context: RoleContext, problems: Backends['problems'], dataDir: string): void {
  const registers = [context.metrics];
  new Gauge({
    name: 'tripline_backend_problem',
    help: '1 while the bus or a state store cannot be written or reached, as on a full disk; /readyz says why.',
    labelNames: ['backend'],
    registers,
    collect() {
      this.reset();
      for (const [backend, problem] of problems()) this.set({ backend }, problem === null ? 0 : 1);
    },
  });
  new Gauge({
    name: 'tripline_data_disk_free_bytes',
    help: 'Free space of the disk with dataDir.',
    registers,
    collect() {
      const freeBytes = freeBytesOf(dataDir);
      if (Number.isFinite(freeBytes)) this.set(freeBytes);
    },
  });
}
