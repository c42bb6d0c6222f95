import { expect, it } from 'vitest';
import { pathTemplate } from './endpoint.ts';

it.each([
  ['/orders/123', '/orders/{id}'],
  ['/orders/123/', '/orders/{id}/'],
  ['/orders/7f3c9d0a-1b2c-4d5e-8f90-123456789abc/items/9', '/orders/{id}/items/{id}'],
  ['/blobs/9f86d081884c7d65', '/blobs/{id}'],
  ['/orders/INV-2026-00017', '/orders/{id}'],
  ['/x/ord_8a7Xk2', '/x/{id}'],
  ['/calendar/2026-11-21', '/calendar/{id}'],
  ['/users/~email~AAAAAAAAAAAAAAAAAAAAAA/orders', '/users/{email}/orders'],
  ['/items/1,2,3', '/items/{id}'],
])('makes %s the endpoint %s', (path, template) => {
  expect(pathTemplate(path)).toBe(template);
});

it.each([
  '/',
  '',
  '//',
  '/v1/users',
  '/v2.1/users',
  '/oauth2/token',
  '/products/red-shoe',
  '/s3/list',
  '*',
  '/a%20b',
  '/.env',
])('keeps %s, which names no object by a number', (path) => {
  expect(pathTemplate(path)).toBe(path);
});

it('bounds the length of a template', () => {
  expect(pathTemplate(`/${'a'.repeat(5_000)}`).length).toBeLessThanOrEqual(201);
});
