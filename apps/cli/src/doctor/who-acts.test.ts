import type { ServiceActors } from '@tripline/app-collector';
import { expect, it } from 'vitest';
import { checkWhoActs, describeActors } from './who-acts.ts';

const actors = (by: Partial<ServiceActors>): ServiceActors => ({
  service: 'shop',
  consumer: 0,
  kong: 0,
  declared: 0,
  learnt: 0,
  address: 0,
  unverified: 0,
  ...by,
});

it('says who acts and why, most first', () => {
  expect(describeActors(actors({ address: 10, consumer: 60, declared: 30 }))).toBe(
    'consumers 60 %, declared credentials (services[].identity) 30 %, addresses 10 %',
  );
});

it('is content where somebody verifies who calls, or nobody presents anything', () => {
  expect(checkWhoActs([actors({ consumer: 90, address: 10 })])).toMatchObject([{ level: 'ok' }]);
  expect(checkWhoActs([actors({ address: 100 })])).toMatchObject([{ level: 'ok' }]);
});

it('warns where callers present what nobody is known to verify, and says what to declare', () => {
  expect(checkWhoActs([actors({ address: 100, unverified: 80 })])).toMatchObject([
    {
      level: 'warn',
      what: expect.stringContaining('addresses 100 %; 80 % present a credential') as string,
      advice: expect.stringContaining('services[].identity') as string,
    },
  ]);
});

it('judges no service by a few calls, and lists at most 20', () => {
  expect(checkWhoActs([actors({ address: 10, unverified: 10 })])).toMatchObject([{ level: 'note' }]);
  const many = Array.from({ length: 30 }, () => actors({ consumer: 100 }));
  expect(checkWhoActs(many)).toHaveLength(21);
});
