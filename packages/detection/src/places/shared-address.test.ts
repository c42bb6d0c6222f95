import type { ApiCall } from '@tripline/model';
import { describe, expect, it } from 'vitest';
import { ByteReader } from '../codec/byte-reader.ts';
import { ByteWriter } from '../codec/byte-writer.ts';
import { createDetection, detectionConfigSchema } from '../index.ts';
import { run } from '../../test-support/run.ts';
import {
  decodeSharedAddress,
  encodeSharedAddress,
  isSharedAddress,
  newSharedAddress,
} from './shared-address.ts';

// A Thursday, as weeks since the epoch begin.
const startMs = Date.parse('2026-03-05T00:00:00Z');
const day = 86_400_000;
const agents = [
  'Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) Safari/604.1',
  'Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/126.0.0.0',
  'Mozilla/5.0 (X11; Linux x86_64) Firefox/127.0',
  ...['curl', 'okhttp', 'python-requests', 'axios', 'kube-probe', 'Wget', 'insomnia', 'Java', 'ruby'],
];

/** The `index`th call from the address, a second after the one before. */
function call(index: number, ip: string | undefined, rest: Partial<ApiCall> = {}): ApiCall {
  const actor = ip ?? 'unknown';
  return {
    ...{ id: `call-${index}`.padStart(10, '0'), startedAt: startMs + index * 1_000 },
    ...{ actorKind: 'address', actorId: actor, actorName: actor, method: 'GET', path: `/products/${index}` },
    ...{ endpoint: 'GET /products/{id}', service: 'shop', route: 'shop', status: 200, source: 'upstream' },
    ...{ requestBytes: 300, responseBytes: 900, latencyMs: 12 },
    ...(ip === undefined ? {} : { ip }),
    ...rest,
  };
}

/** Whether the last of 400 calls comes from an address that is shared. */
function isShared(ip: string | undefined, each: (index: number) => Partial<ApiCall>): boolean {
  const state = newSharedAddress();
  let shared = false;
  for (let index = 0; index < 400; index++) shared = isSharedAddress(state, call(index, ip, each(index)));
  return shared;
}
/** 40 people with two kinds of client and a cookie each; four at a time, ten calls each. */
const manyPeople = (index: number): Partial<ApiCall> => {
  const person = 4 * Math.floor(index / 40) + (index % 4);
  return { userAgent: agents[person % 2]!, cookies: { sid: `~secret~${person % 40}` } };
};

describe('a private address', () => {
  it.each<[string, (index: number) => Partial<ApiCall>]>([
    ['two kinds of client, with cookies of many people', manyPeople],
    ['many kinds of client', (index) => ({ userAgent: agents[index % agents.length]! })],
  ])('is shared by %s', (_what, each) => {
    expect(isShared('10.244.1.1', each)).toBe(true);
    expect(isShared('fd00::1', each)).toBe(true);
  });

  it.each<[string, (index: number) => Partial<ApiCall>]>([
    ['a program', () => ({ userAgent: 'python-requests/2.31.0' })],
    ['a browser whose cookies change', (index) => ({ userAgent: agents[0]!, cookies: { xsrf: `${index}` } })],
    [
      'one client after its updates',
      (index) => ({ userAgent: `okhttp/4.${index}.0`, cookies: { sid: '1' } }),
    ],
    ['a host with a few programs', (index) => ({ userAgent: agents[3 + (index % 5)]! })],
  ])('of %s is not shared', (_what, each) => {
    expect(isShared('10.1.4.20', each)).toBe(false);
  });

  it('is shared in the week after, too, and no longer', () => {
    const state = newSharedAddress();
    for (let index = 0; index < 400; index++)
      isSharedAddress(state, call(index, '10.244.1.1', manyPeople(index)));
    const later = (days: number): ApiCall => call(0, '10.244.1.1', { startedAt: startMs + days * day });
    expect(isSharedAddress(state, later(8))).toBe(true);
    expect(isSharedAddress(state, later(15))).toBe(false);
  });

  it('is the same after its state was written and read', () => {
    const writer = new ByteWriter();
    const state = newSharedAddress();
    for (let index = 0; index < 400; index++) {
      isSharedAddress(state, call(index, '10.244.1.1', manyPeople(index)));
      encodeSharedAddress(state, writer);
      expect(decodeSharedAddress(new ByteReader(writer.take()))).toEqual(state);
    }
  });
});

describe('the detectors', () => {
  const alertsOf = (ip: string | undefined): number => {
    const detection = createDetection(detectionConfigSchema.parse({}));
    const calls = Array.from({ length: 8_000 }, (_, index) => call(index, ip, manyPeople(index)));
    return run(detection, calls).alerts.filter(({ actor }) => actor.kind === 'address').length;
  };

  it('say nothing of a shared address, nor of calls without one', () => {
    expect(alertsOf('10.244.1.1')).toBe(0);
    expect(alertsOf(undefined)).toBe(0);
  });

  it('do of a public address that sends the same', () => {
    expect(isShared('203.0.113.9', manyPeople)).toBe(false);
    expect(alertsOf('203.0.113.9')).toBeGreaterThan(0);
  });
});
