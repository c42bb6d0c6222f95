import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { createNormaliser, createTemplateLearner, lineOf } from '@tripline/kong';
import type { ApiCall } from '@tripline/model';
import { createSanitizer } from '@tripline/sanitize';
import { describe, expect, it } from 'vitest';
import { Observer } from './observations.ts';

const call = (actorId: string, ip: string, place: Partial<ApiCall> = {}): ApiCall => ({
  id: `${actorId}-${ip}`,
  startedAt: 1_000,
  actorKind: 'consumer',
  actorId,
  actorName: actorId,
  ip,
  method: 'GET',
  path: '/',
  endpoint: 'GET /',
  status: 200,
  source: 'upstream',
  requestBytes: 1,
  responseBytes: 1,
  latencyMs: 1,
  ...place,
});
const frankfurt = { asn: 64_580, country: 'DE', city: 'Frankfurt', latitude: 50.1, longitude: 8.7 };

describe('observations of the lines', () => {
  it('tell the place from which most located lines are, and how many actors are there', () => {
    const observer = new Observer();
    for (let at = 0; at < 30; at++) observer.saw(call(`c${at % 20}`, `192.0.2.${at}`, frankfurt), 2_000);
    for (let at = 0; at < 10; at++) observer.saw(call('other', '198.51.100.1', { country: 'US' }), 2_000);
    for (let at = 0; at < 50; at++) observer.saw(call('unlocated', '203.0.113.1'), 2_000);
    expect(observer.report().clients).toEqual({
      lines: 90,
      distinct: 32,
      top: '203.0.113.1',
      topShare: 50 / 90,
      privateShare: 0,
      topPlace: 'Frankfurt, DE (AS64580)',
      topPlaceShare: 0.75,
      topPlaceActors: 20,
    });
  });

  it('know no place without a database', () => {
    const observer = new Observer();
    observer.saw(call('c', '192.0.2.1'), 2_000);
    expect(observer.report().clients).toMatchObject({ topPlace: undefined, topPlaceShare: 0 });
  });

  it('and whatever else is remembered of lines keep none of their bytes in memory', () => {
    setFlagsFromString('--expose-gc');
    const collectGarbage = runInNewContext('gc') as () => void;
    const observer = new Observer();
    const normalise = createNormaliser({
      sanitizer: createSanitizer({ key: Buffer.alloc(32, 1) }),
      templates: createTemplateLearner(),
      locate: (ip) => (ip.endsWith('1') ? frankfurt : undefined),
    });
    const lineBytes = 64 * 1024;
    // So that the reader tells the services and routes apart.
    const tags = ['x'.repeat(160)];
    const read = (n: number): void => {
      const id = `00000000-0000-4000-8000-${n.toString().padStart(4, '0').repeat(3)}`;
      const line = {
        started_at: 1_795_303_232_269,
        client_ip: `2001:db8:0:${n}::1`,
        consumer: { id, username: `a-consumer-called-${n}` },
        request: {
          id: id.replaceAll('-', ''),
          uri: `/catalog/a-product-called-${n}?a_parameter_called_${n}=a-value-called-${n}`,
          method: 'GET',
          headers: {
            host: `host-${n}.example.com`,
            'user-agent': `an-agent-called-${n}/1.0`,
            filler: 'x'.repeat(lineBytes),
          },
          querystring: { [`a_parameter_called_${n}`]: `a-value-called-${n}` },
        },
        response: { status: 200 },
        service: { tags, id: `${id}-service`, name: `a-service-called-${n}` },
        route: {
          tags,
          id: `${id}-route`,
          name: `a-route-called-${n}`,
          paths: [`/catalog/a-product-called-${n}`],
        },
        source: 'upstream',
      };
      const result = normalise(lineOf(Buffer.from(JSON.stringify(line))), Infinity);
      if (result.kind !== 'accepted') throw new Error(result.kind);
      observer.saw(result.call, 2_000);
    };
    read(0);
    collectGarbage();
    const before = process.memoryUsage().heapUsed;
    for (let n = 1; n <= 500; n++) read(n);
    collectGarbage();
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(50 * lineBytes);
  });
});
