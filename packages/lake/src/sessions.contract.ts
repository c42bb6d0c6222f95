import type { Alert, ApiCall } from '@tripline/model';
import { beforeAll, describe, expect, it } from 'vitest';
import { alert, bareCall, callRecords, jsonRecords } from './contract-rows.ts';
import type { Lake } from './lake.ts';

/** The part of the lake contract about sessions and risk; `lakeOf` gives the lake that the contract has open. */
export function sessionsContract(lakeOf: () => Lake, now: number): void {
  describe('sessions and risk', () => {
    let lake: Lake;
    beforeAll(() => {
      lake = lakeOf();
    });
    const at = now + 2 * 3_600_000;
    const range = { fromMs: at, untilMs: at + 3 * 3_600_000, riskAtLeast: 0, limit: 100 };
    const minuteMs = 60_000;
    const call = (id: string, minutes: number, more: Partial<ApiCall> = {}): ApiCall => ({
      ...bareCall(`risk-${id}`, at + minutes * minuteMs),
      actorKind: 'consumer',
      actorId: 'risk-ann',
      actorName: 'ann',
      ip: '198.51.100.7',
      userAgent: 'curl/8',
      service: 'orders',
      ...more,
    });
    const finding = (id: string, more: Partial<Alert>): Alert =>
      alert(`risk-${id}`, {
        actor: { kind: 'consumer', id: 'risk-ann', name: 'ann' },
        service: null,
        sources: [],
        sampleCallIds: [],
        severity: 'medium',
        raisedAt: at,
        startedAt: at,
        lastSeenAt: at + 25 * minuteMs,
        ...more,
      });
    const calls = [
      call('a1', 0),
      call('a2', 20),
      call('a3', 50),
      call('a4', 81, { status: 404 }),
      call('phone', 1, { userAgent: 'phone' }),
      call('moved', 2, { ip: '198.51.100.8' }),
      call('bob', 3, { actorId: 'risk-bob', actorName: 'bob' }),
    ];
    const risks = async (): Promise<Record<string, number>> =>
      Object.fromEntries((await lake.ratedCalls(range)).map(({ id, risk }) => [id.slice(5), risk]));

    it('ends a session behind a pause of more than 30 minutes, and keeps user agents, addresses and actors apart', async () => {
      await lake.insert('apiCalls', callRecords(calls));
      // A call that comes twice counts once.
      await lake.insert('apiCalls', callRecords(calls.slice(0, 2)));
      const sessions = await lake.sessions(range);
      expect(sessions.map(({ id, calls }) => [id, calls])).toEqual([
        ['risk-a4', 1],
        ['risk-a1', 3],
        ['risk-bob', 1],
        ['risk-moved', 1],
        ['risk-phone', 1],
      ]);
      expect(sessions[1]).toEqual({
        id: 'risk-a1',
        actorKind: 'consumer',
        actorId: 'risk-ann',
        actorName: 'ann',
        ip: '198.51.100.7',
        country: '',
        asn: 0,
        userAgent: 'curl/8',
        startedAt: at,
        lastSeenAt: at + 50 * minuteMs,
        calls: 3,
        failedCalls: 0,
        endpoints: 1,
        risk: 0,
        findings: {},
      });
    });

    it('joins two sessions when a late call fills the pause between them', async () => {
      await lake.insert('apiCalls', callRecords([call('late', 70)]));
      const [joined] = await lake.sessions(range);
      expect(joined).toMatchObject({ id: 'risk-a1', calls: 5, failedCalls: 1 });
    });

    it('gives half of the points to the calls of an episode and all to its samples, in scope only', async () => {
      const about = finding('about', { sampleCallIds: ['risk-a2'] });
      await lake.insert('alerts', jsonRecords([about]));
      expect(await risks()).toEqual({
        a1: 15,
        a2: 30,
        a3: 0,
        a4: 0,
        late: 0,
        phone: 15,
        moved: 15,
        bob: 0,
      });
      const elsewhere = finding('elsewhere', { service: 'billing' });
      await lake.insert('alerts', jsonRecords([elsewhere]));
      expect(await risks()).toMatchObject({ a1: 15, a2: 30 });
    });

    it('gives points to calls after the last revision for as long as the next may be due, and no more when it is closed', async () => {
      const later = 10 * 60;
      const eve = { actorId: 'risk-eve', actorName: 'eve' };
      // From 25 minutes of age on, the next revision is due after 25 / 9 minutes at the latest.
      await lake.insert(
        'apiCalls',
        jsonRecords([call('e1', later + 10, eve), call('e2', later + 27, eve), call('e3', later + 29, eve)]),
      );
      const open = finding('eve', {
        actor: { kind: 'consumer', id: 'risk-eve', name: 'eve' },
        raisedAt: at + later * minuteMs,
        startedAt: at + later * minuteMs,
        lastSeenAt: at + (later + 25) * minuteMs,
      });
      const of = async (fromMinutes: number): Promise<number[]> => {
        const filter = {
          ...range,
          fromMs: at + (later + fromMinutes) * minuteMs,
          untilMs: at + (later + 60) * minuteMs,
        };
        return (await lake.ratedCalls(filter)).map(({ risk }) => risk);
      };
      await lake.insert('alerts', jsonRecords([open]));
      expect(await of(0)).toEqual([0, 15, 15]);
      // Also where the alert's last call lies before the range.
      expect(await of(26)).toEqual([0, 15]);
      await lake.insert('alerts', jsonRecords([{ ...open, revision: 2, status: 'closed' as const }]));
      expect(await of(0)).toEqual([0, 0, 15]);
    });

    it('follows the latest revision of an alert', async () => {
      const grown = finding('about', { revision: 2, severity: 'high', lastSeenAt: at + 60 * minuteMs });
      await lake.insert('alerts', jsonRecords([{ ...grown, sampleCallIds: ['risk-a2'] }]));
      expect(await risks()).toMatchObject({ a1: 30, a2: 60, a3: 30, late: 0, bob: 0 });
    });

    it('blames whoever calls from an address that an alert is about or that an attack on an endpoint came from', async () => {
      const address = finding('address', {
        actor: { kind: 'address', id: '198.51.100.8', name: '198.51.100.8' },
        severity: 'low',
      });
      const endpoint = finding('endpoint', {
        actor: { kind: 'endpoint', id: 'orders GET /orders/{id}', name: 'GET /orders/{id}' },
        endpoint: 'GET /orders/{id}',
        sources: [{ ip: '198.51.100.7', count: 3 }],
      });
      await lake.insert('alerts', jsonRecords([address, endpoint]));
      expect(await risks()).toMatchObject({ a1: 45, a2: 75, a3: 30, bob: 15, moved: 35, phone: 45 });
    });

    it('takes the addresses of an IPv6 /64 for one: for an alert about it, and for a session', async () => {
      const from = at + 5 * 3_600_000;
      const later = { ...range, fromMs: from, untilMs: from + 3_600_000 };
      const scan = (id: string, ip: string, network: string): ApiCall => ({
        ...bareCall(`risk-v6-${id}`, from + minuteMs),
        actorKind: 'address',
        actorId: network,
        actorName: network,
        ip,
        network,
        userAgent: 'scanner',
      });
      const calls = [
        scan('a', '2001:db8:77:1::a', '2001:db8:77:1::/64'),
        scan('b', '2001:db8:77:1::b', '2001:db8:77:1::/64'),
        scan('c', '2001:db8:77:2::a', '2001:db8:77:2::/64'),
      ];
      await lake.insert('apiCalls', callRecords(calls));
      const times = { raisedAt: from, startedAt: from, lastSeenAt: from + 10 * minuteMs };
      const about = finding('v6-about', {
        ...times,
        actor: { kind: 'address', id: '2001:db8:77:1::/64', name: '2001:db8:77:1::/64' },
      });
      const endpoint = finding('v6-endpoint', {
        ...times,
        actor: { kind: 'endpoint', id: 'accounts POST /login', name: 'accounts POST /login' },
        sources: [{ ip: '2001:db8:77:1::/64', count: 2 }],
      });
      await lake.insert('alerts', jsonRecords([about, endpoint]));
      const rated = await lake.ratedCalls(later);
      expect(Object.fromEntries(rated.map(({ id, risk }) => [id.slice(8), risk]))).toEqual({
        a: 30,
        b: 30,
        c: 0,
      });
      expect((await lake.sessions(later)).map(({ ip, calls, risk }) => [ip, calls, risk])).toEqual([
        ['2001:db8:77:1::/64', 2, 30],
        ['2001:db8:77:2::/64', 1, 0],
      ]);
    });

    it('rates a session by the sum of its findings, each once, and never above 100', async () => {
      const [worst] = await lake.sessions(range);
      expect(worst).toMatchObject({ risk: 75, findings: { 'risk-about': 60, 'risk-endpoint': 15 } });
      const worse = finding('worse', { severity: 'critical', sampleCallIds: ['risk-a1'] });
      await lake.insert('alerts', jsonRecords([worse]));
      const [capped] = await lake.sessions(range);
      expect(capped).toMatchObject({ id: 'risk-a1', risk: 100 });
      expect(capped!.findings).toEqual({ 'risk-about': 60, 'risk-endpoint': 15, 'risk-worse': 90 });
    });

    it('looks at one actor, a time, a least risk and so many rows only', async () => {
      const actor = { kind: 'consumer' as const, id: 'risk-bob' };
      expect((await lake.sessions({ ...range, actor })).map(({ id }) => id)).toEqual(['risk-bob']);
      expect((await lake.ratedCalls({ ...range, actor })).map(({ id }) => id)).toEqual(['risk-bob']);
      expect((await lake.ratedCalls({ ...range, riskAtLeast: 100 })).map(({ id }) => id)).toEqual([
        'risk-a2',
        'risk-a1',
      ]);
      expect((await lake.sessions({ ...range, riskAtLeast: 81 })).map(({ id }) => id)).toEqual([
        'risk-a1',
        'risk-phone',
      ]);
      expect((await lake.ratedCalls({ ...range, limit: 1 })).map(({ id }) => id)).toEqual(['risk-a4']);
      expect(await lake.ratedCalls({ ...range, untilMs: at + 1 })).toHaveLength(1);
    });

    it.each([
      { untilMs: at },
      { riskAtLeast: 101 },
      { riskAtLeast: Number.NaN },
      { limit: 0 },
      { limit: 10_001 },
    ])('refuses a filter that cannot be meant: %o', async (wrong) => {
      await expect(lake.sessions({ ...range, ...wrong })).rejects.toThrow(RangeError);
      await expect(lake.ratedCalls({ ...range, ...wrong })).rejects.toThrow(RangeError);
    });
  });
}
