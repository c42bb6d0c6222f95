import { apiCallSchema } from '@tripline/model';
import { createNormaliser, createTemplateLearner, lineOf } from '@tripline/kong';
import { createSanitizer } from '@tripline/sanitize';
import { createHash } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import { repeats } from '../support/thorough.ts';
import { dayMs } from './calendar.ts';
import { createToApiCall } from './api-call.ts';
import { toLine } from './log-line.ts';
import { keptHeader, type Request } from './request.ts';
import type { Label } from './stage.ts';
import { createTraffic } from './traffic.ts';

/** Small: what is checked here does not depend on how well the victims of spikes are known. */
const small = { seed: 1, days: 10, consumers: 40, pastDays: 0.2 };
const sanitizer = createSanitizer({ key: Buffer.alloc(32, 7) });

/** Every letter and number of the catalogue in `detection.md`. */
const letters = (detector: string, last: string): string[] =>
  Array.from(
    { length: last.charCodeAt(0) - 96 },
    (_, index) => `${detector}:not-${String.fromCharCode(97 + index)}`,
  );
const numbers = (detector: string, last: number): string[] =>
  Array.from({ length: last }, (_, index) => `${detector}:${index + 1}`);
const mustNot = [
  ...letters('request-spike', 'l'),
  ...letters('credential-stuffing', 'j'),
  ...letters('impossible-travel', 'm'),
  ...letters('credential-sharing', 'h'),
  ...letters('scraping', 'i'),
  ...letters('abnormal-parameter', 'k'),
];
const must = [
  ...numbers('request-spike', 10),
  ...numbers('credential-stuffing', 11),
  ...numbers('impossible-travel', 6),
  ...numbers('credential-sharing', 5),
  ...numbers('scraping', 12),
  ...numbers('abnormal-parameter', 12),
];

describe('traffic generator', () => {
  const { stage, locate } = createTraffic(small);
  const toApiCall = createToApiCall(sanitizer, locate);
  const counts = {
    all: 0,
    compared: 0,
    late: 0,
    early: 0,
    good: 0,
    differing: [] as unknown[],
    withoutNetwork: [] as string[],
    times: new Map<string, number>(),
  };

  beforeAll(() => {
    let nowMs = 0;
    const normalise = createNormaliser({
      sanitizer,
      locate: (ip) => locate(ip, nowMs),
      keepHeaders: [keptHeader],
      templates: createTemplateLearner(),
    });
    /** Everything odd, and one of twelve ordinary ones. */
    const isCompared = (one: Request): boolean =>
      one.login !== null ||
      one.wrongKey !== null ||
      one.route === null ||
      one.accountHeader !== null ||
      counts.all % 12 === 0;
    let arrived = 0;
    for (const { requests } of stage.blocks()) {
      for (const one of requests) {
        counts.all++;
        if (one.arrivesAt < arrived) counts.early++;
        arrived = one.arrivesAt;
        if (one.arrivesAt - one.startedAt > 10 * 60_000) counts.late++;
        if (one.status < 300) counts.good++;
        counts.times.set(one.id, (counts.times.get(one.id) ?? 0) + 1);
        if (!isCompared(one)) continue;
        counts.compared++;
        nowMs = one.startedAt;
        const call = toApiCall(one);
        if (call.asn === undefined) counts.withoutNetwork.push(one.ip);
        const seen = normalise(lineOf(Buffer.from(`${toLine(one)}\n`)), Infinity);
        const expected = seen.kind === 'accepted' ? JSON.stringify(seen.call) : seen;
        if (JSON.stringify(call) !== expected || !apiCallSchema.safeParse(call).success)
          counts.differing.push({ call, expected });
      }
    }
  }, 120_000);
  const of = (variant: string): Label[] => stage.labels.filter((label) => label.variant === variant);

  it('the API calls it makes are those that the collector makes of its lines, byte for byte', () => {
    expect(counts.differing.slice(0, 5)).toEqual([]);
    expect(counts.compared).toBeGreaterThan(20_000);
  });

  it.each(mustNot)('%s occurs', (variant) => {
    expect(of(variant).length).toBeGreaterThan(0);
    for (const label of of(variant)) {
      expect(label.kind).toBe('benign');
      expect(label.calls, label.title).toBeGreaterThan(0);
    }
  });

  it.each(must)('%s occurs, with its label', (variant) => {
    expect(of(variant).length).toBeGreaterThan(0);
    for (const label of of(variant)) {
      expect(label.kind).toBe('attack');
      expect(label.actors.size).toBeGreaterThan(0);
      expect(label.endedAt).toBeGreaterThanOrEqual(label.startedAt);
      // A stop is the one attack that sends nothing.
      if (!label.optional) expect(label.times.length, label.title).toBe(label.calls);
      expect(label.calls > 2 || label.optional, label.title).toBe(true);
    }
  });

  it('plants nothing that the catalogue does not know', () => {
    const known = new Set([...must, ...mustNot]);
    expect(stage.labels.map((label) => label.variant).filter((variant) => !known.has(variant))).toEqual([]);
  });

  it('lines come in order of arrival, some of them late, about 1 % twice', () => {
    expect(counts.early).toBe(0);
    expect(counts.late).toBeGreaterThan(100);
    const twice = [...counts.times.values()].filter((times) => times === 2).length;
    expect(twice / counts.times.size).toBeGreaterThan(0.008);
    expect(twice / counts.times.size).toBeLessThan(0.012);
  });

  it('nine in ten requests succeed', () => {
    const share = counts.good / counts.all;
    expect(share).toBeGreaterThan(0.85);
    expect(share).toBeLessThan(0.95);
  });

  it('every address has a network', () => {
    expect(counts.withoutNetwork).toEqual([]);
  });

  it('the successful logins of stuffing are the opened accounts', () => {
    expect(of('credential-stuffing:7')[0]!.openedAccounts.size).toBeGreaterThan(3);
    expect(of('credential-stuffing:11')[0]!.openedAccounts.size).toBeGreaterThan(30);
    expect(of('credential-stuffing:2')[0]!.openedAccounts.size).toBe(0);
  });

  it('the same seed makes the same bytes, another seed others', () => {
    const digest = (seed: number): string => {
      const made = createTraffic({ ...small, seed });
      const make = createToApiCall(sanitizer, made.locate);
      const sum = createHash('sha256');
      for (const { endsAt, requests } of made.stage.blocks()) {
        for (const one of requests) sum.update(`${one.arrivesAt} ${JSON.stringify(make(one))}`);
        if (endsAt >= made.stage.startMs + repeats(1, 3) * dayMs) break;
      }
      return sum.digest('hex');
    };
    const first = digest(1);
    expect(digest(1)).toBe(first);
    expect(digest(2)).not.toBe(first);
  });

  it('the largest 1 % of 2,000 consumers send a fifth to a third of the crowd’s requests', () => {
    const large = createTraffic({ seed: 3, days: 10, consumers: 2_000, pastDays: 0 });
    const perConsumer = new Map<string, number>();
    for (const { endsAt, requests } of large.stage.blocks()) {
      for (const one of requests) {
        const name = one.client.consumer?.username ?? '';
        if (name.startsWith('partner-')) perConsumer.set(name, (perConsumer.get(name) ?? 0) + 1);
      }
      if (endsAt >= large.stage.startMs + dayMs) break;
    }
    const sizes = [...perConsumer.values()].sort((a, b) => b - a);
    const all = sizes.reduce((sum, size) => sum + size, 0);
    const top = sizes.slice(0, 20).reduce((sum, size) => sum + size, 0);
    expect(top / all).toBeGreaterThan(0.2);
    expect(top / all).toBeLessThan(0.34);
  });
});
