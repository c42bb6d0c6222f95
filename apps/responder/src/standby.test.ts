import { afterEach, describe, expect, it } from 'vitest';
import { type Bus, jsonRecord } from '@tripline/bus';
import type { StateStore } from '@tripline/state';
import { startResponder, type RunningResponder } from './responder.ts';
import { StandbyError, startStandby } from './standby.ts';
import {
  anAlert,
  aPolicy,
  MemoryKong,
  testContext,
  TestClock,
  TestDisk,
  TestPolicies,
} from './test-support.ts';

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

/** Two responders on one bus and one state, with a clock that only the test moves. */
function world(state?: (real: StateStore, who: string) => StateStore) {
  const clock = new TestClock();
  const disk = new TestDisk();
  undo.push(() => disk.remove());
  const bus: Bus = disk.bus(clock.now);
  const shared = disk.state(clock.now);
  const kong = new MemoryKong(['c-1', 'c-2']);
  const policies = new TestPolicies(aPolicy());
  const start = (holder: string): RunningResponder & { lines: string[] } => {
    const context = testContext(clock.now);
    const own = state?.(shared, holder) ?? shared;
    const standby = startStandby({
      ...context,
      state: own,
      admin: kong,
      holder,
      sleep: clock.sleep,
      start: (admin, metrics) =>
        startResponder({
          ...context,
          metrics,
          bus,
          state: own,
          admin,
          policies,
          channels: [],
          random: () => 1,
          sleep: clock.sleep,
        }),
    });
    undo.push(() => standby.stop());
    return Object.assign(standby, { lines: context.lines });
  };
  const publish = (consumer: string): Promise<void> =>
    bus.publish('alerts', [jsonRecord(consumer, anAlert({ consumer }))]);
  return { clock, kong, start, publish, shared };
}

/** Lets everything that can happen without time passing happen. */
async function until(holds: () => boolean): Promise<void> {
  const end = Date.now() + 10_000;
  while (!holds()) {
    if (Date.now() > end) throw new Error('it never came to it');
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const stands = (responder: RunningResponder): boolean => /stands by/.test(responder.health().detail);
const acts = (responder: RunningResponder): boolean =>
  responder.health().ready && !stands(responder) && responder.health().detail !== 'asking for the lease';

describe('several responders', () => {
  it('let one act; the others say who', async () => {
    const { start, publish, kong } = world();
    const first = start('first');
    await until(() => acts(first));
    const second = start('second');
    await until(() => stands(second));
    expect(second.health()).toMatchObject({ alive: true, ready: true, detail: 'stands by; first acts' });
    expect(() => second.responses()).toThrow(StandbyError);
    await expect(second.lift('x')).rejects.toThrow(/Ask the one that acts: first/);
    await publish('c-1');
    await until(() => kong.blocked().length === 1);
    expect(kong.writes).toHaveLength(1);
  });

  it('hand over at once when the one that acts stops, and the next goes on where it ended', async () => {
    const { clock, start, publish, kong } = world();
    const first = start('first');
    await until(() => acts(first));
    const second = start('second');
    await until(() => stands(second));
    await publish('c-1');
    await until(() => kong.blocked().length === 1);
    await first.stop();
    clock.advance(2_000);
    await until(() => acts(second));
    await publish('c-2');
    await until(() => kong.blocked().length === 2);
    expect(kong.writes.map(({ kind }) => kind)).toEqual(['put', 'put']);
    expect(second.responses().map(({ status }) => status)).toEqual(['active', 'active']);
  });

  it('take over within the lease and a third when the one that acts is not heard of, and it cannot write any more', async () => {
    let cut = false;
    const { clock, start, publish, kong } = world((real, who) =>
      Object.assign(Object.create(real) as StateStore, {
        claim: (partition: number) => real.claim(partition),
        release: (name: string, holder: string) => real.release(name, holder),
        problem: () => null,
        // The store does not answer the first one any more.
        lease: (name: string, holder: string, ttlMs: number) =>
          cut && who === 'first' ? Promise.reject(new Error('no answer')) : real.lease(name, holder, ttlMs),
      }),
    );
    const first = start('first');
    await until(() => acts(first));
    const second = start('second');
    await until(() => stands(second));
    cut = true;
    clock.advance(2_000);
    await until(() => first.lines.some((line) => line.includes('cannot be had')));
    // It may still act: nobody else can have the lease before it runs out.
    expect(stands(second)).toBe(true);
    clock.advance(2_000);
    clock.advance(2_000);
    await until(() => acts(second));
    await until(() => !acts(first));
    expect(first.health()).toMatchObject({ alive: true, ready: false });
    await publish('c-1');
    await until(() => kong.blocked().length === 1);
    expect(kong.writes).toHaveLength(1);

    // It comes back as one that stands by, and may act again later, with its metrics.
    cut = false;
    clock.advance(2_000);
    await until(() => stands(first));
    await second.stop();
    clock.advance(2_000);
    await until(() => acts(first));
    expect(first.responses()).toHaveLength(1);
  });

  it('act again where the one that acts was fenced and still holds the lease, as after a stall', async () => {
    const { clock, start, publish, kong, shared } = world();
    const first = start('first');
    await until(() => acts(first));
    // A successor claimed the state while this one stalled; then it ended, and gave the lease back.
    await shared.claim(0);
    await publish('c-1');
    await until(() => !acts(first) || first.lines.some((line) => line.includes('stands by from now on')));
    clock.advance(2_000);
    await until(() => acts(first));
    await until(() => kong.blocked().length === 1);
    expect(first.responses().map(({ status }) => status)).toEqual(['active']);
    expect(first.lines.filter((line) => line.includes('acts from now on'))).toHaveLength(2);

    // And as often as it happens.
    await shared.claim(0);
    await publish('c-2');
    await until(() => first.lines.filter((line) => line.includes('stands by from now on')).length === 2);
    clock.advance(2_000);
    await until(() => kong.blocked().length === 2);
    expect(kong.writes.map(({ kind }) => kind)).toEqual(['put', 'put']);
  });

  it('leave the lease to the one that has it when they were fenced by it', async () => {
    const { clock, start, publish, kong, shared } = world();
    const first = start('first');
    await until(() => acts(first));
    await shared.release('responder', 'first');
    const second = start('second');
    await until(() => acts(second));
    await publish('c-1');
    await until(() => first.lines.some((line) => line.includes('stands by from now on')));
    clock.advance(2_000);
    await until(() => stands(first) && kong.blocked().length === 1);
    expect(acts(second)).toBe(true);
    expect(kong.writes).toHaveLength(1);
  });
});
