import { describe, expect, it } from 'vitest';
import { pathTemplate, placeholderBy } from './endpoint.ts';
import { expectedSegments, routeShapes } from './route-paths.ts';

function templateBy(paths: unknown, path: string): string {
  const expected = expectedSegments(routeShapes(paths), path);
  return pathTemplate(path, (_path, from, to, index) => placeholderBy(expected[index], path, from, to));
}

describe("a route's regular expression", () => {
  it.each([
    ['~/products/(?<slug>[^/]+)/reviews$', '/products/red-shoe/reviews', '/products/{id}/reviews'],
    ['~/products/(?P<slug>[a-z-]+)$', '/products/red-shoe', '/products/{id}'],
    ['~^/products/([a-z-]+)', '/products/red-shoe/sizes', '/products/{id}/sizes'],
    ['~/products/[^/]+/reviews', '/products/red-shoe/reviews/new', '/products/{id}/reviews/new'],
    ['~/a/\\w+/b/(?<x>\\S+)$', '/a/one/b/two', '/a/{id}/b/{id}'],
    ['~/p/(?:[a-z]+)$', '/p/one', '/p/{id}'],
    ['~/p/sku-(?<rest>\\w{3,})$', '/p/sku-abc', '/p/{id}'],
    ['~/v1\\.0/(?<slug>[a-z]+)', '/v1.0/abc', '/v1.0/{id}'],
    ['/users/(?<name>\\w+)/profile', '/users/ann/profile', '/users/{id}/profile'],
    ['~/orders/(?<order_id>[0-9a-f-]{36})$', '/orders/70d535b9-0b54-48b0-b6a4-4db9e2439a47', '/orders/{id}'],
  ])('%s makes %s the endpoint %s', (route, path, template) => {
    expect(templateBy([route], path)).toBe(template);
  });

  it.each([
    ['~/(?:users|orders)/list', '/users/list'],
    ['~/users/(me|self)$', '/users/me'],
    ['~/v[12]/status$', '/v1/status'],
    ['~/users(?:/(?<name>[a-z]+))?$', '/users/ann'],
    ['~/(a/(?<x>\\w+)|b)', '/a/c'],
    ['~/a/(?<x>\\w+)|/b/c', '/b/c'],
    ['~/products/(?<slug>[^/]+)$', '/other/path'],
    ['~/products/(?<slug>[^/]+)$', '/products/red-shoe/reviews'],
    ['~/products/(?<slug>[^/]*)$', '/products/'],
    ['~(((', '/a/b'],
    ['~/[', '/a/b'],
    ['~', '/a'],
  ])('%s says nothing about the words of %s', (route, path) => {
    expect(templateBy([route], path)).toBe(path);
  });

  it('is read in time whatever it is', () => {
    for (const part of ['(', '[', '(a+', '\\', '[^', '((?<a>', '.*', '{', '/', '[a]+'])
      expect(templateBy(Array(50).fill(`~/${part.repeat(300)}`.slice(0, 300)), '/a/b')).toMatch(
        /^\/a\/b|\{id\}/,
      );
  });
});

describe("a route's plain path", () => {
  it('keeps its own segments, also where they look like ids', () => {
    expect(templateBy(['/reports/2026-11'], '/reports/2026-11/17')).toBe('/reports/2026-11/{id}');
    expect(templateBy(['/reports/2026-11'], '/reports/2026-11-30')).toBe('/reports/{id}');
  });

  it('wins where it is more exact than an expression of the same route', () => {
    const paths = ['~/products/(?<slug>[a-z-]+)$', '/products/search'];
    expect(templateBy(paths, '/products/search')).toBe('/products/search');
    expect(templateBy(paths, '/products/red-shoe')).toBe('/products/{id}');
  });

  it.each([undefined, null, 'text', {}, [17, null, {}, ['/a'], '', '/']])(
    'of another type, %j, says nothing',
    (paths) => {
      expect(templateBy(paths, '/a/17')).toBe('/a/{id}');
    },
  );
});
