import type { Alert, Response } from '@tripline/model';
import type { ActionRegistry, Policy } from '@tripline/policy';
import { openRoleState } from '../role-state.ts';
import {
  aPolicy,
  asBatch,
  MemoryBus,
  MemoryKong,
  MemoryState,
  TestClock,
  testContext,
  TestPolicies,
} from '../test-support.ts';
import type { ControllerLimits } from './admission.ts';
import { Controller } from './controller.ts';

export const minute = 60_000;

export interface Options {
  policies?: Policy[];
  limits?: Partial<ControllerLimits>;
  kong?: MemoryKong | null;
  consumers?: string[];
  actions?: ActionRegistry;
}

/** A controller whose process can be killed and started again; state, bus and Kong stay. */
export async function world(options: Options = {}) {
  const clock = new TestClock();
  const store = new MemoryState();
  const bus = new MemoryBus();
  const policies = new TestPolicies(...(options.policies ?? [aPolicy()]));
  const kong =
    options.kong === null ? null : (options.kong ?? new MemoryKong(options.consumers ?? ['c-1', 'c-2']));
  let context = testContext(clock.now);
  let offset = 0;
  const start = async () => {
    context = testContext(clock.now);
    const state = await openRoleState(store, 1);
    return new Controller({
      ...context,
      bus,
      state,
      admin: kong ?? undefined,
      policies,
      random: () => 1,
      wake: () => undefined,
      ...(options.limits && { limits: options.limits }),
      ...(options.actions && { actions: options.actions }),
    });
  };
  const made = {
    clock,
    store,
    bus,
    policies,
    kong: kong!,
    controller: await start(),
    get log() {
      return context.lines.join('');
    },
    get metrics() {
      return context.metrics;
    },
    /** As after kill -9: what was only in memory is gone. */
    async restart() {
      made.controller = await start();
    },
    decide: (...alerts: Alert[]) => made.controller.decide(asBatch(alerts, ++offset)),
    /** Lets the time pass in steps until nothing is due for a while. */
    async run(ms: number) {
      const end = clock.nowMs + ms;
      await made.controller.pass();
      while (clock.nowMs < end) {
        clock.nowMs = Math.min(end, clock.nowMs + Math.max(1, made.controller.dueInMs()));
        await made.controller.pass();
      }
    },
    /** The last published state of each response. */
    published(): Map<string, Response> {
      return new Map(bus.responses.map((one) => [one.id, one]));
    },
    status(): string[] {
      return made.controller.responses().map((one) => one.status);
    },
  };
  return made;
}
