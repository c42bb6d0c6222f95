import type { Alert } from '@tripline/model';
import type { RatedCall, Session } from '@tripline/lake';
import { afterEach, describe, expect, it } from 'vitest';
import { recording, scratchDir } from '../support/parts.ts';
import { callLine, caughtUp, sendLines, startTestSystem } from '../support/running.ts';

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});

interface Recorded {
  started_at: number;
  consumer?: { id: string };
}

const attacker = { id: '0c1dbd85-0000-4000-8000-000000000099', username: 'mallory' };
const attackCalls = 1_500;
const points: Record<string, number> = { low: 10, medium: 30, high: 60, critical: 90 };

/** A system that has dealt with an hour of recorded traffic and an attack of ten seconds behind it. */
async function watchedTraffic() {
  const scratch = scratchDir();
  undo.push(scratch.dispose);
  // The recordings grow older than the lake keeps calls by default.
  const system = await startTestSystem(scratch.path, { lake: { retentionDays: 3_650 } });
  undo.push(() => system.stop());
  const normal = recording('normal');
  const parsed = normal.map((line) => JSON.parse(line.toString()) as Recorded);
  const times = parsed.map((line) => line.started_at);
  const attackedAt = Math.ceil(Math.max(...times) / 10_000) * 10_000;
  const attack = Array.from({ length: attackCalls }, (_, n) => callLine(n, attackedAt + n * 6, attacker));
  await sendLines(system.collector.port, [...normal, ...attack]);
  await caughtUp(system.url, normal.length + attackCalls);

  const range = `since=${Math.min(...times)}&until=${attackedAt + 10_000}&limit=10000`;
  const ask = async <Row>(path: string): Promise<Row[]> => {
    const answer = await fetch(`${system.url}${path}`);
    expect(answer.status, path).toBe(200);
    return (await answer.json()) as Row[];
  };
  return { system, recorded: parsed, range, attackedAt, ask };
}

describe('GET /sessions and GET /calls', () => {
  it('show every recorded call once, and rate those of the attack by its alert and no others', async () => {
    const { system, recorded, range, attackedAt, ask } = await watchedTraffic();

    const [alert, ...others] = await ask<Alert>('/alerts');
    expect(others).toEqual([]);
    expect(alert).toMatchObject({ type: 'request-spike', actor: { id: attacker.id } });
    const most = points[alert!.severity]!;

    const calls = await ask<RatedCall>(`/calls?${range}`);
    expect(calls).toHaveLength(recorded.length + attackCalls);
    expect(new Set(calls.map(({ id }) => id)).size).toBe(calls.length);
    const times = calls.map(({ startedAt }) => startedAt);
    expect(times).toEqual(times.toSorted((a, b) => b - a));
    // Also the calls behind its latest revision.
    expect(alert!.lastSeenAt).toBeLessThan(attackedAt + (attackCalls - 1) * 6);
    for (const call of calls) {
      const concerned = call.actorId === attacker.id;
      const risk = !concerned ? 0 : alert!.sampleCallIds.includes(call.id) ? most : most / 2;
      expect(call).toMatchObject({ risk, findings: risk === 0 ? {} : { [alert!.id]: risk } });
    }

    expect(calls.filter(({ risk }) => risk === most)).toHaveLength(alert!.sampleCallIds.length);

    const sessions = await ask<Session>(`/sessions?${range}`);
    expect(sessions.reduce((sum, session) => sum + session.calls, 0)).toBe(calls.length);
    expect(sessions[0]).toMatchObject({
      actorKind: 'consumer',
      actorId: attacker.id,
      actorName: attacker.username,
      startedAt: attackedAt,
      lastSeenAt: attackedAt + (attackCalls - 1) * 6,
      calls: attackCalls,
      failedCalls: 0,
      endpoints: 1,
      risk: most,
      findings: { [alert!.id]: most },
    });
    expect(sessions.slice(1).filter(({ risk }) => risk > 0)).toEqual([]);
    expect(await ask(`/sessions?${range}&risk=${most}`)).toEqual(sessions.slice(0, 1));
    expect(await ask(`/sessions?${range}&risk=${most + 0.5}`)).toEqual([]);
    expect(await ask(`/sessions?${range.replace('10000', '2')}`)).toEqual(sessions.slice(0, 2));

    const consumer = recorded.find((line) => line.consumer)!.consumer!.id;
    const its = recorded.filter((line) => line.consumer?.id === consumer).length;
    const ofConsumer = await ask<Session>(`/sessions?${range}&actor=consumer:${consumer}`);
    expect(new Set(ofConsumer.map(({ actorId }) => actorId))).toEqual(new Set([consumer]));
    expect(ofConsumer.reduce((sum, session) => sum + session.calls, 0)).toBe(its);
    expect(await ask(`/calls?${range}&actor=consumer:${consumer}`)).toHaveLength(its);

    const before = range.replace(`until=${attackedAt + 10_000}`, `until=${attackedAt}`);
    expect(await ask(`/calls?${before}`)).toHaveLength(recorded.length);

    const refused = await fetch(`${system.url}/sessions?risk=200`);
    expect(refused.status).toBe(400);
    expect(await refused.json()).toEqual({ message: "risk is '200': allowed are numbers from 0 to 100." });
  });
});
