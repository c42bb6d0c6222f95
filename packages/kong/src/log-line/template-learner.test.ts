import { describe, expect, it } from 'vitest';
import {
  createTemplateLearner,
  type TemplateLearner,
  type TemplateLearnerOptions,
} from './template-learner.ts';

/** Numbers that look drawn by lot, and are the same in each run. */
function numbers(seed = 1): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}
/** The `index`th word, of letters only. */
const word = (index: number): string =>
  `${index.toString(26).replace(/./g, (digit) => String.fromCharCode(97 + parseInt(digit, 26)))}-thing`;

interface World {
  learner: TemplateLearner;
  /** A successful call of one of 50 customers. */
  get: (path: string, method?: string) => string;
  /** What the template would be now; teaches nothing. */
  ask: (path: string) => string;
}
function world(options: TemplateLearnerOptions = {}): World {
  const learner = createTemplateLearner(options);
  let calls = 0;
  return {
    learner,
    get: (path, method = 'GET') =>
      learner.template('shop', path, [], { actorId: `customer-${calls++ % 50}`, ip: '198.51.100.7', method }),
    ask: (path) => learner.template('shop', path, [], undefined),
  };
}
function askFor(many: number, { get }: World, under = '/products', from = 0): void {
  for (let index = 0; index < many; index++) get(`${under}/${word(from + index)}`);
}

describe('words under one parent', () => {
  it('are objects once new ones keep coming', () => {
    const shop = world();
    const random = numbers();
    // 1,000 products, a few of which are in demand.
    for (let call = 0; call < 3_000; call++)
      shop.get(`/products/${word(Math.floor(1_000 ** (random(1_000) / 1_000)))}`);
    expect(shop.ask('/products/red-shoe')).toBe('/products/{id}');
    expect(shop.ask('/products/never-seen/reviews')).toBe('/products/{id}/reviews');
    expect(shop.ask('/products')).toBe('/products');
    expect(shop.ask('/other')).toBe('/other');
    expect(shop.learner.learnt()).toEqual([{ service: 'shop', under: '/products', words: [] }]);
  });

  it('are objects at once when there are more of them than any API has names', () => {
    const shop = world();
    askFor(399, shop);
    expect(shop.ask('/products/red-shoe')).toBe('/products/red-shoe');
    askFor(1, shop, '/products', 399);
    expect(shop.ask('/products/red-shoe')).toBe('/products/{id}');
  });

  it.each([10, 40, 100, 250])('stay when there are %i of them, however long they are asked for', (many) => {
    const shop = world();
    const random = numbers(many);
    for (let call = 0; call < 100_000; call++) {
      // By popularity as usual (Zipf).
      shop.get(`/api/${word(Math.floor(many ** (random(10_000) / 10_000)))}/list`);
    }
    expect(shop.learner.learnt()).toEqual([]);
    expect(shop.ask(`/api/${word(1)}`)).toBe(`/api/${word(1)}`);
  });

  it('stay when a typing error a day succeeds, too', () => {
    const shop = world();
    for (let day = 0; day < 3_000; day++) {
      for (let call = 0; call < 100; call++) shop.get(`/api/${word(call % 30)}`);
      shop.get(`/api/${word(1_000 + day)}`);
    }
    expect(shop.learner.learnt()).toEqual([]);
  });

  it('are objects of one service only', () => {
    const shop = world();
    askFor(500, shop);
    expect(shop.learner.template('other', '/products/red-shoe', [], undefined)).toBe('/products/red-shoe');
  });

  it('are objects at several levels', () => {
    const shop = world();
    const random = numbers();
    for (let call = 0; call < 20_000; call++)
      shop.get(`/shops/${word(random(800))}/items/${word(random(5_000))}`);
    expect(shop.ask('/shops/mine/items/this')).toBe('/shops/{id}/items/{id}');
    expect(shop.ask('/shops/mine/about')).toBe('/shops/{id}/about');
  });

  it('teach nothing when nobody vouches for them: refused and missing ones, and preflights', () => {
    const shop = world();
    for (let index = 0; index < 10_000; index++) shop.ask(`/products/${word(index)}`);
    expect(shop.learner.learnt()).toEqual([]);
  });

  it('teach nothing when one client alone walks through them, also amid the calls of others', () => {
    const shop = world();
    for (let index = 0; index < 20_000; index++) {
      const scanner = { actorId: 'scanner', ip: '203.0.113.66', method: 'GET' };
      shop.learner.template('shop', `/${word(index)}`, [], scanner);
      shop.get(`/${word(index % 20)}`);
    }
    expect(shop.learner.learnt()).toEqual([]);
    expect(shop.ask('/backup')).toBe('/backup');
  });
});

describe('what is established', () => {
  it('stays beside objects: a word that was asked for far more often', () => {
    const shop = world();
    for (let index = 0; index < 500; index++) {
      shop.get('/users/me');
      shop.get(`/users/${word(index)}`);
    }
    expect(shop.ask('/users/me')).toBe('/users/me');
    expect(shop.ask('/users/me/orders')).toBe('/users/me/orders');
    expect(shop.ask('/users/ann')).toBe('/users/{id}');
    expect(shop.learner.learnt()).toEqual([{ service: 'shop', under: '/users', words: ['me'] }]);
  });

  it('stays beside objects: a word that leads further in a way of its own', () => {
    const shop = world();
    for (let index = 0; index < 25; index++) shop.get('/products/search/suggest');
    for (let index = 0; index < 500; index++) shop.get(`/products/${word(index)}/reviews`);
    expect(shop.ask('/products/search/suggest')).toBe('/products/search/suggest');
    expect(shop.ask('/products/red-shoe/reviews')).toBe('/products/{id}/reviews');
  });

  it('stays beside objects: each of many branches in daily use, although they are alike', () => {
    const shop = world();
    const random = numbers();
    for (let call = 0; call < 50_000; call++) {
      const branch = Math.floor(40 ** (random(10_000) / 10_000));
      shop.get(`/api/${word(branch)}/${random(1_000)}`);
    }
    askFor(500, shop, '/api', 5_000);
    for (let branch = 1; branch < 40; branch++)
      expect(shop.ask(`/api/${word(branch)}/17`)).toBe(`/api/${word(branch)}/{id}`);
    expect(shop.ask('/api/red-shoe')).toBe('/api/{id}');
  });

  it('stays beside objects: actions, which alone are posted to', () => {
    const shop = world();
    for (let index = 0; index < 500; index++) {
      shop.get(`/users/${word(index)}`);
      if (index % 10 === 0) for (const action of ['login', 'register']) shop.get(`/users/${action}`, 'POST');
    }
    for (const action of ['login', 'register']) expect(shop.ask(`/users/${action}`)).toBe(`/users/${action}`);
    expect(shop.ask('/users/ann')).toBe('/users/{id}');
  });

  it('is no object that is posted to like the others', () => {
    const shop = world();
    for (let room = 0; room < 25; room++)
      for (let call = room; call < 25; call += room + 1) shop.get(`/rooms/${word(room)}`, 'POST');
    for (let index = 0; index < 450; index++) shop.get(`/rooms/${word(index)}`, 'POST');
    expect(shop.learner.learnt()).toEqual([{ service: 'shop', under: '/rooms', words: [] }]);
  });

  it('stays beside objects: every branch of an API in use, when objects come under the same parent', () => {
    const shop = world();
    const random = numbers();
    for (let call = 0; call < 20_000; call++) {
      const branch = random(60);
      shop.get(`/api/${word(branch)}/${word(branch * 10 + random(3))}`);
    }
    askFor(500, shop, '/api', 5_000);
    for (let branch = 0; branch < 60; branch++)
      expect(shop.ask(`/api/${word(branch)}/17`)).toBe(`/api/${word(branch)}/{id}`);
    expect(shop.ask('/api/red-shoe')).toBe('/api/{id}');
  });

  it("stays beside objects: a word of Kong's route path, also when it comes later", () => {
    const shop = world();
    const expected = ['products', 'search'];
    shop.learner.template('shop', '/products/search', expected, {
      actorId: 'a',
      ip: '192.0.2.1',
      method: 'GET',
    });
    askFor(500, shop);
    expect(shop.ask('/products/search')).toBe('/products/search');
    expect(shop.learner.template('shop', '/products/compare', ['products', 'compare'], undefined)).toBe(
      '/products/compare',
    );
  });

  it('is no object of a shop where a few products are in great demand', () => {
    const shop = world();
    const random = numbers();
    for (let call = 0; call < 5_000; call++)
      shop.get(`/products/${word(Math.floor(5_000 ** (random(10_000) / 10_000)))}`);
    expect(shop.learner.learnt()).toEqual([{ service: 'shop', under: '/products', words: [] }]);
  });

  it('is no file with a leading dot, nor the end of the path', () => {
    const shop = world();
    askFor(500, shop);
    for (const path of ['/products/.env', '/products/', '/products/.git/config'])
      expect(shop.ask(path)).toBe(path);
  });

  it('never changes any more', () => {
    const shop = world();
    askFor(500, shop);
    const random = numbers();
    for (let call = 0; call < 50_000; call++) {
      expect(shop.get(`/products/${word(random(10))}`)).toBe('/products/{id}');
    }
    expect(shop.learner.revision).toBe(1);
  });
});

describe('a learner', () => {
  it('makes placeholders of ids by their looks before it learnt anything', () => {
    const { ask, get } = world();
    expect(ask('/orders/123/items/9')).toBe('/orders/{id}/items/{id}');
    expect(get('/users/~email~AAAAAAAAAAAAAAAAAAAAAA/orders')).toBe('/users/{email}/orders');
    expect(get('*')).toBe('*');
  });

  it('goes on after a restart with what it had learnt', () => {
    const shop = world();
    const random = numbers();
    for (let call = 0; call < 20_000; call++) {
      shop.get('/shops/search');
      shop.get(`/shops/search/${word(random(2_000))}`);
      shop.get(`/shops/${word(random(800))}/items/${word(random(5_000))}`);
    }
    const kept = JSON.parse(JSON.stringify(shop.learner.learnt())) as ReturnType<TemplateLearner['learnt']>;
    expect(kept).toEqual([
      { service: 'shop', under: '/shops', words: ['search'] },
      { service: 'shop', under: '/shops/search', words: [] },
      { service: 'shop', under: '/shops/{id}/items', words: [] },
    ]);
    const again = world({ learnt: kept.reverse() });
    for (const path of [
      '/shops/search',
      '/shops/search/this',
      '/shops/mine/items/this',
      '/shops',
      '/shops/mine/items',
    ])
      expect(again.ask(path)).toBe(shop.ask(path));
    expect(again.learner.learnt()).toEqual(shop.learner.learnt());
  });

  it('gives the same templates for the same calls', () => {
    const run = (): string[] => {
      const shop = world();
      const random = numbers(7);
      return Array.from({ length: 5_000 }, () => shop.get(`/a/${word(random(900))}/b/${word(random(900))}`));
    };
    expect(run()).toEqual(run());
  });

  it('forgets the rarest words when it is full, and neither decisions nor how to learn', () => {
    const shop = world({ maxNodes: 3_000 });
    askFor(500, shop);
    // Each path is one of a kind, at a depth where nothing repeats.
    for (let index = 0; index < 20_000; index++)
      shop.get(`/x${word(index % 300)}/${word(index)}/${word(index * 3)}`);
    expect(shop.ask('/products/red-shoe')).toBe('/products/{id}');
    askFor(500, shop, '/late');
    expect(shop.ask('/late/red-shoe')).toBe('/late/{id}');
  });

  it('survives any path', () => {
    const { get } = world();
    for (const path of [
      '',
      '/',
      '//',
      '///a',
      'a/b',
      '/{id}',
      '/{',
      '/a'.repeat(1_000),
      `/${'é'.repeat(900)}`,
    ])
      for (let time = 0; time < 3; time++) expect(get(path).length).toBeLessThanOrEqual(201);
  });
});
