import type { ApiCall } from '@tripline/model';
import { describe, expect, it } from 'vitest';
import { createAsked, OBJECTS_MOST } from './asked.ts';

const read = createAsked();

function asked(call: Partial<ApiCall>): { objects: number; numbers: number[]; page: boolean; limit: number } {
  const { objects, numbers, page, limit } = read({
    id: '00000001',
    startedAt: 0,
    actorKind: 'consumer',
    actorId: 'acme',
    actorName: 'acme',
    method: 'GET',
    path: '/orders',
    endpoint: 'GET /orders',
    status: 200,
    source: 'upstream',
    requestBytes: 0,
    responseBytes: 0,
    latencyMs: 0,
    ...call,
  });
  return { objects: objects.length, numbers: [...numbers], page: page >= 0, limit };
}

describe('what a call asks for', () => {
  it('is the path as one object, however many ids are in it', () => {
    expect(asked({ endpoint: 'GET /orders/{id}', path: '/orders/17' })).toMatchObject({
      objects: 1,
      numbers: [17],
    });
    expect(asked({ endpoint: 'GET /accounts/{id}/tx/{id}', path: '/accounts/512/tx/3' })).toMatchObject({
      objects: 1,
      numbers: [512],
    });
    expect(asked({ endpoint: 'GET /orders', path: '/orders' })).toMatchObject({ objects: 0 });
  });

  it('is each id of a list in the query, up to a bound', () => {
    expect(asked({ query: { ids: ['7,8,9'] } })).toMatchObject({ objects: 3, numbers: [7, 8, 9] });
    expect(asked({ query: { 'order_id[]': ['7', '8'] } })).toMatchObject({ objects: 2 });
    const many = Array.from({ length: 1_000 }, (_, at) => at).join(',');
    expect(asked({ query: { ids: [many] } }).objects).toBe(OBJECTS_MOST);
  });

  it('is the id in a kept header, and a name that stands for an account', () => {
    expect(asked({ headers: { 'x-account-id': '42' } })).toMatchObject({ objects: 1, numbers: [42] });
    expect(asked({ query: { username: ['candidate7'] } })).toMatchObject({ objects: 1, numbers: [7] });
    expect(asked({ query: { email: ['~email~0123456789abcdefghijkl'] } })).toMatchObject({ objects: 1 });
  });

  it('is a name made of words and numbers, however long', () => {
    for (const slug of ['red-shoe', 'running-shoe-2026', 'galaxy-s24-ultra-5g-256gb', 'order-2026-00000017'])
      expect(asked({ endpoint: 'GET /products/{id}', path: `/products/${slug}` }).objects).toBe(1);
  });

  it('is not what nobody can guess: uuids, hashes, tokens of secrets', () => {
    const uuid = '6f1d2c3b-0a9e-4f5d-8c7b-1a2b3c4d5e6f';
    expect(asked({ endpoint: 'GET /payments/{id}', path: `/payments/${uuid}` })).toMatchObject({
      objects: 0,
    });
    expect(asked({ query: { id: ['~secret~0123456789abcdefghijkl'] } })).toMatchObject({ objects: 0 });
    expect(asked({ endpoint: 'GET /p/{id}/v/{id}', path: `/p/${uuid}/v/2` })).toMatchObject({ objects: 1 });
  });

  it('is not what names the request or the client', () => {
    expect(
      asked({ query: { request_id: ['1'], session_id: ['2'], client_id: ['3'], idempotency_key: ['4'] } }),
    ).toEqual({ objects: 0, numbers: [], page: false, limit: 0 });
  });

  it('is the page of a list, the same in whatever order its parameters come', () => {
    expect(asked({ query: { page: ['3'], limit: ['10000'] } })).toMatchObject({
      page: true,
      limit: 10_000,
      objects: 0,
    });
    const page = (query: Record<string, string[]>): number =>
      read({ endpoint: 'GET /orders', path: '/orders', query } as unknown as ApiCall).page;
    expect(page({ page: ['3'], limit: ['50'] })).toBe(page({ limit: ['50'], page: ['3'] }));
    expect(page({ page: ['3'] })).not.toBe(page({ page: ['4'] }));
  });
});
