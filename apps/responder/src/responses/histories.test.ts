import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { isOurs, pluginId } from '@tripline/policy';
import type { MemoryKong } from '../test-support.ts';
import { anAlert, aPolicy } from '../test-support.ts';
import { minute, world } from './test-world.ts';

describe('over random histories', () => {
  const consumers = ['c-1', 'c-2', 'c-3'];
  const policies = [
    aPolicy(),
    aPolicy({
      id: 'limit',
      match: { severityAtLeast: 'high' },
      actions: [{ type: 'rate-limit', duration: '5m', minute: 10 }],
    }),
    aPolicy({
      id: 'dry',
      dryRun: true,
      actions: [{ type: 'block', duration: 'permanent', status: 451, message: 'dry' }],
    }),
    aPolicy({
      id: 'ever',
      match: { severityAtLeast: 'critical' },
      actions: [{ type: 'block', duration: 'permanent', status: 403, message: 'ever' }],
    }),
  ];
  const step = fc.oneof(
    fc.record({
      do: fc.constant('alert' as const),
      consumer: fc.constantFrom(...consumers, ''),
      kind: fc.constantFrom(
        'consumer' as const,
        'consumer' as const,
        'consumer' as const,
        'address' as const,
      ),
      severity: fc.constantFrom('low' as const, 'high' as const, 'critical' as const),
      episode: fc.nat(2),
    }),
    fc.record({
      do: fc.constant('wait' as const),
      ms: fc.constantFrom(1_000, 30_000, 6 * minute, 16 * minute),
    }),
    fc.record({
      do: fc.constant('fault' as const),
      fault: fc.constantFrom('unavailable' as const, 'unavailable-after-effect' as const),
    }),
    fc.record({ do: fc.constant('down' as const), down: fc.boolean() }),
    fc.record({ do: fc.constant('kill' as const) }),
    fc.record({ do: fc.constant('lift' as const), nth: fc.nat(5) }),
    fc.record({
      do: fc.constant('hand' as const),
      hand: fc.constantFrom(
        'clear' as const,
        'own' as const,
        'untag' as const,
        'disable' as const,
        'orphan' as const,
        'no own' as const,
      ),
      consumer: fc.constantFrom(...consumers),
    }),
    fc.record({ do: fc.constant('delete consumer' as const), consumer: fc.constantFrom(...consumers) }),
    fc.record({ do: fc.constant('disk' as const), failures: fc.nat(2) }),
  );

  test('the safety rules hold at every step, and Kong ends up as the responses say', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 25 }), async (steps) => {
        const limits = { liveMax: 4, newPerMinuteMax: 3 };
        const w = await world({ policies, consumers, limits });
        let revision = 0;
        for (const one of steps) {
          const { kong } = w;
          switch (one.do) {
            case 'alert': {
              const actor = { kind: one.kind, id: one.consumer, name: one.consumer };
              const id = `alert-${one.consumer}-${one.episode}`;
              const alert = anAlert({
                id,
                revision: ++revision,
                actor,
                severity: one.severity,
                lastSeenAt: w.clock.nowMs,
              });
              // The bus delivers a batch again until it was dealt with.
              while (
                !(await w.decide(alert).then(
                  () => true,
                  () => false,
                ))
              );
              await w.controller.pass();
              break;
            }
            case 'wait':
              await w.run(one.ms);
              break;
            case 'fault':
              kong.faults.push(one.fault);
              break;
            case 'down':
              kong.down = one.down;
              break;
            case 'kill':
              await w.restart();
              break;
            case 'lift': {
              const response = w.controller.responses()[one.nth];
              if (response) await w.controller.lift(response.id).catch(() => undefined);
              break;
            }
            case 'disk':
              w.store.failures = one.failures;
              break;
            case 'delete consumer':
              kong.deleteConsumer(one.consumer);
              break;
            case 'hand':
              byHand(kong, one.hand, one.consumer);
          }
          checkSafety(w, limits);
        }
        // The world calms down: everything must settle.
        w.kong.down = false;
        w.kong.faults = [];
        w.store.failures = 0;
        await w.run(2 * minute);
        checkSafety(w, limits);
        expect(w.controller.problem()).toBeNull();
        const active = w.controller.responses().filter((one) => one.status === 'active');
        const tags = [...w.kong.store.values()]
          .filter(isOurs)
          .flatMap((plugin) => plugin.tags!.filter((tag) => tag.startsWith('tripline-response:')));
        expect(tags.sort()).toEqual(active.map((one) => `tripline-response:${one.id}`).sort());
        for (const one of active) expect(one.expiresAt ?? Infinity).toBeGreaterThan(w.clock.nowMs);
        expect(w.status()).not.toContain('pending');
        for (const one of w.controller.responses()) {
          expect(w.published().get(one.id)).toMatchObject({ status: one.status });
        }
        for (const response of w.bus.responses.filter((one) => one.policyId === 'dry')) {
          expect(response.status).toBe('dry-run');
        }
      }),
      { numRuns: 300 },
    );
  });

  function byHand(kong: MemoryKong, hand: string, consumer: string): void {
    const id = pluginId(consumer, 'request-termination');
    const plugin = kong.store.get(id);
    if (hand === 'clear') for (const one of kong.store.values()) if (isOurs(one)) kong.store.delete(one.id);
    if (hand === 'own' && !plugin && kong.consumers.has(consumer)) {
      kong.byHand({ id: `ops-${consumer}`, name: 'request-termination', consumer: { id: consumer } });
    }
    if (hand === 'no own') kong.store.delete(`ops-${consumer}`);
    if (hand === 'untag' && plugin) kong.byHand({ ...plugin, tags: ['ops'] });
    if (hand === 'disable' && plugin) kong.byHand({ ...plugin, enabled: false });
    if (hand === 'orphan' && !kong.store.has('orphan') && kong.consumers.has(consumer)) {
      kong.byHand({
        id: 'orphan',
        name: 'rate-limiting',
        consumer: { id: consumer },
        route: { id: 'r' },
        tags: ['tripline', 'tripline-response:lost'],
      });
    }
  }

  function checkSafety(
    w: Awaited<ReturnType<typeof world>>,
    limits: { liveMax: number; newPerMinuteMax: number },
  ): void {
    for (const write of w.kong.writes) {
      if (write.before) expect(isOurs(write.before), 'only what carries our tags is touched').toBe(true);
      if (write.kind === 'delete') continue;
      expect(write.input?.consumer?.id, 'never without a consumer').toBeTruthy();
      expect(write.input?.tags).toContain('tripline');
      expect(write.input?.config['status_code'], 'a dry run writes nothing').not.toBe(451);
    }
    const responses = w.controller.responses();
    const live = responses.filter((one) => ['pending', 'active', 'blocked-by-operator'].includes(one.status));
    expect(live.length).toBeLessThanOrEqual(limits.liveMax);
    const real = responses.filter((one) => one.status !== 'dry-run').map((one) => one.decidedAt);
    for (const at of real) {
      expect(real.filter((other) => other >= at && other < at + minute).length).toBeLessThanOrEqual(
        limits.newPerMinuteMax,
      );
    }
    expect(w.kong.store.size).toBeLessThanOrEqual(20);
  }
});
