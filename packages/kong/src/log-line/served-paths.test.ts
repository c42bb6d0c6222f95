import type { ApiCall } from '@tripline/model';
import { describe, expect, it } from 'vitest';
import type { RouteMatch } from './log-line.ts';
import { createServedPaths, type ServedPaths } from './served-paths.ts';

const startMs = Date.parse('2026-03-02T08:00:00Z');
const second = 1_000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;

const route = (rest: Partial<RouteMatch> = {}): RouteMatch => ({
  ...{ paths: undefined, hosts: undefined, methods: undefined, headers: undefined, snis: undefined },
  ...rest,
});
/** A route whose path tells nothing, as those of the expressions router. */
const open = route();

/** A call `atMs` after the start, as the normaliser makes it, but for `pathGone`. */
function call(atMs: number, ip: string, path: string, rest: Partial<ApiCall> = {}): ApiCall {
  return {
    ...{ id: 'call-0001', startedAt: startMs + atMs, actorKind: 'address', actorId: ip, actorName: ip, ip },
    ...{
      method: 'GET',
      host: 'api.example.com',
      path,
      endpoint: `GET ${path}`,
      status: 200,
      source: 'upstream',
    },
    ...{
      requestBytes: 300,
      responseBytes: 900,
      latencyMs: 12,
      upstreamMs: 10,
      service: 'shop',
      route: 'shop',
    },
    ...rest,
  };
}
function noRoute(atMs: number, ip: string, path: string, rest: Partial<ApiCall> = {}): ApiCall {
  const asked = { ...call(atMs, ip, path, rest), status: 404, source: 'kong' as const };
  delete asked.service;
  delete asked.route;
  delete asked.upstreamMs;
  return asked;
}
const missing = (atMs: number, ip: string, path: string, rest: Partial<ApiCall> = {}): ApiCall =>
  call(atMs, ip, path, { status: 404, ...rest });

const anna = '192.0.2.1';
const bert = '192.0.2.2';

describe('a path that was served', () => {
  it.each<[string, string, string]>([
    ['itself', '/reports/summary', '/reports/summary'],
    ['by another id', '/orders/1017', '/orders/2044'],
    ['by other ids within words', '/shop/category-7/article-21.html', '/shop/category-12/article-3.html'],
    ['with a slash at its end', '/about', '/about/'],
  ])('to another client is gone when Kong has no route for it: %s', (_what, served, asked) => {
    const memory = createServedPaths();
    expect(memory.observe(call(0, anna, served), open)).toBe(false);
    expect(memory.observe(noRoute(second, bert, asked), undefined)).toBe(true);
  });

  it.each<[string, Partial<ApiCall>, Partial<ApiCall>]>([
    ['on another host', {}, { host: 'admin.example.com' }],
    ['but refused', { status: 401 }, {}],
    ['by Kong itself', { source: 'kong' }, {}],
    ['as a preflight', { method: 'OPTIONS' }, {}],
  ])('is not gone if it was served %s', (_what, served, asked) => {
    const memory = createServedPaths();
    memory.observe(call(0, anna, '/reports', served), open);
    expect(memory.observe(noRoute(second, bert, '/reports', asked), undefined)).toBe(false);
  });

  it('only to the client itself is gone an hour later, so that nobody clears a path just before probing it', () => {
    const memory = createServedPaths();
    memory.observe(call(0, anna, '/feed'), open);
    expect(memory.observe(noRoute(minute, anna, '/feed'), undefined)).toBe(false);
    expect(memory.observe(noRoute(hour, anna, '/feed'), undefined)).toBe(true);
  });

  it('is gone, too, if the upstream answers 404, but for the objects of an endpoint', () => {
    const memory = createServedPaths();
    memory.observe(call(0, anna, '/old/page.html'), open);
    memory.observe(call(0, anna, '/orders/1017', { endpoint: 'GET /orders/{id}' }), open);
    expect(memory.observe(missing(second, bert, '/old/page.html'), open)).toBe(true);
    expect(memory.observe(missing(second, bert, '/orders/9', { endpoint: 'GET /orders/{id}' }), open)).toBe(
      false,
    );
    expect(memory.observe(call(second, bert, '/old/page.html', { status: 403 }), open)).toBe(false);
  });

  it('is forgotten after four weeks in which nobody was served', () => {
    const memory = createServedPaths();
    memory.observe(call(0, anna, '/reports'), open);
    expect(memory.observe(noRoute(27 * day, bert, '/reports'), undefined)).toBe(true);
    expect(memory.observe(noRoute(29 * day, bert, '/reports'), undefined)).toBe(false);
  });

  it('is remembered though one client has itself served any number of paths', () => {
    const memory = createServedPaths({ maxPaths: 200 });
    for (const ip of [anna, bert]) memory.observe(call(0, ip, '/reports'), open);
    for (let index = 0; index < 1_000; index++)
      memory.observe(call(minute, '192.0.2.66', `/${'abcdefghij'[index % 10]}${'x'.repeat(index)}`), open);
    expect(memory.saved().paths.length).toBeLessThanOrEqual(200);
    expect(memory.observe(noRoute(2 * minute, '192.0.2.3', '/reports'), undefined)).toBe(true);
  });

  it('is looked at in lines that do not tell their route', () => {
    const memory = createServedPaths();
    const bare = call(0, anna, '/reports');
    delete bare.route;
    delete bare.service;
    memory.observe(bare, undefined);
    expect(memory.observe(noRoute(second, bert, '/reports'), undefined)).toBe(true);
  });
});

describe('a route with a plain path', () => {
  const gone = (match: RouteMatch, asked: ApiCall, memory: ServedPaths = createServedPaths()): boolean => {
    memory.observe(call(0, anna, '/wiki/Main_Page', { host: 'docs.example.com' }), match);
    return memory.observe(asked, undefined);
  };
  const ask = (rest: Partial<ApiCall> = {}, atMs = 2 * minute): ApiCall =>
    noRoute(atMs, bert, '/wiki/Never_Read', { host: 'docs.example.com', ...rest });

  it.each<[string, Partial<RouteMatch>]>([
    ['a path', { paths: ['/wiki'] }],
    ['a path, hosts and methods', { paths: ['/wiki'], hosts: ['docs.example.com:443'], methods: ['GET'] }],
    ['a host alone', { hosts: ['*.example.com'] }],
  ])('that is there no more, by %s, makes whatever it took gone', (_what, match) => {
    expect(gone(route(match), ask())).toBe(true);
  });

  it.each<[string, Partial<RouteMatch>, ApiCall]>([
    ['was seen within the last minute', { paths: ['/wiki'] }, ask({}, 50 * second)],
    ['was not seen for three days', { paths: ['/wiki'] }, ask({}, 4 * day)],
    ['is of another path', { paths: ['/wikis'] }, ask()],
    ['is of another host', { paths: ['/wiki'], hosts: ['www.example.com'] }, ask()],
    ['is of other methods', { paths: ['/wiki'], methods: ['POST'] }, ask()],
    ['asks for a header, too', { paths: ['/wiki'], headers: {} }, ask()],
    ['takes everything on any host', { paths: ['/'] }, ask()],
    ['is a regular expression', { paths: ['~/wiki/(?<page>[^/]+)$'] }, ask()],
  ])('does not if it %s', (_what, match, asked) => {
    expect(gone(route(match), asked)).toBe(false);
  });

  it('makes what it took gone where another route with a shorter path takes it now', () => {
    const memory = createServedPaths();
    const site = route({ paths: ['/'] });
    const item = { endpoint: 'GET /wiki/{id}' };
    memory.observe(call(0, anna, '/wiki/1017', item), route({ paths: ['/wiki'] }));
    memory.observe(call(0, anna, '/'), site);
    expect(memory.observe(missing(2 * minute, bert, '/wiki/2044', item), site)).toBe(true);
    expect(memory.observe(missing(2 * minute, bert, '/backup.zip'), site)).toBe(false);
  });

  it('is remembered up to 2,000 of them', () => {
    const memory = createServedPaths();
    for (let index = 0; index < 3_000; index++)
      memory.observe(call(0, anna, `/${index}`), route({ paths: [`/${index}`] }));
    expect(memory.saved().routes).toHaveLength(2_000);
  });
});

describe('everybody', () => {
  /** So many clients that were served before, or never, ask for paths that nobody was served. */
  function share(before: number, now: number, stillServed: number): boolean {
    const memory = createServedPaths();
    for (let index = 0; index < before; index++)
      memory.observe(call(index, `198.51.100.${index}`, '/in'), open);
    for (let index = 0; index < stillServed; index++)
      memory.observe(call(hour, `198.51.100.${index}`, '/in'), open);
    let gone = false;
    for (let index = 0; index < now; index++)
      gone = memory.observe(
        noRoute(hour + index, `203.0.113.${index}`, `/else/${'x'.repeat(index)}`),
        undefined,
      );
    return gone;
  }

  it.each<[string, number, number, number, boolean]>([
    ['has no route: of 50 clients nobody is served any more', 50, 50, 0, true],
    ['has no route, and never had', 0, 50, 0, true],
    ['is not one scanner', 50, 1, 0, false],
    ['is not nine clients', 0, 9, 0, false],
    ['is not a botnet of 200 beside a few clients that are served', 12, 200, 8, false],
    ['is not half of all', 50, 50, 50, false],
  ])('%s', (_what, before, now, stillServed, expected) => {
    expect(share(before, now, stillServed)).toBe(expected);
  });

  it('is not one client that was seen many times', () => {
    const memory = createServedPaths();
    const gone = Array.from({ length: 100 }, (_, index) =>
      memory.observe(noRoute(index, anna, `/probe-${'x'.repeat(index)}`), undefined),
    );
    expect(gone).not.toContain(true);
  });
});

describe('the memory', () => {
  it('answers the same after it was saved and read again', () => {
    const first = createServedPaths();
    const before = first.revision;
    first.observe(call(0, anna, '/reports'), open);
    for (const ip of [anna, bert]) first.observe(call(0, ip, '/feed'), open);
    first.observe(call(0, anna, '/wiki/Main_Page'), route({ paths: ['/wiki'] }));
    expect(first.revision).not.toBe(before);
    const memory = createServedPaths({ saved: JSON.parse(JSON.stringify(first.saved())) as never });
    expect(memory.saved()).toEqual(first.saved());
    expect(memory.observe(noRoute(2 * minute, anna, '/reports'), undefined)).toBe(false);
    expect(memory.observe(noRoute(2 * minute, bert, '/reports'), undefined)).toBe(true);
    expect(memory.observe(noRoute(2 * minute, anna, '/feed'), undefined)).toBe(true);
    expect(memory.observe(noRoute(2 * minute, bert, '/wiki/Never_Read'), undefined)).toBe(true);
    expect(memory.observe(noRoute(2 * minute, bert, '/.env'), undefined)).toBe(false);
  });

  it('has nothing new to save while the same is served on the same day', () => {
    const memory = createServedPaths();
    const wiki = route({ paths: ['/wiki'] });
    memory.observe(call(0, anna, '/wiki/Main_Page'), wiki);
    const { revision } = memory;
    memory.observe(call(hour, anna, '/wiki/Main_Page'), wiki);
    expect(memory.revision).toBe(revision);
    memory.observe(call(day + hour, anna, '/wiki/Main_Page'), wiki);
    expect(memory.revision).not.toBe(revision);
  });
});
