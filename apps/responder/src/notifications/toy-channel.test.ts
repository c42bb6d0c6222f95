import { afterEach, expect, test } from 'vitest';
import {
  channelKinds,
  createChannels,
  type ChannelKind,
  type ChannelMessage,
  type ChannelSettings,
  type Delivery,
} from '@tripline/notify';
import { anAlert, startMs } from '../test-support.ts';
import { minute, stopAll, world } from './test-world.ts';

afterEach(stopAll);

/** A channel that does not exist: its file would hold no more than this. */
interface PagerSettings extends ChannelSettings {
  type: 'pager';
  number: string;
}
const rung: ChannelMessage[] = [];
let answer: Delivery = { kind: 'delivered' };
const pager: ChannelKind<PagerSettings> = {
  type: 'pager',
  create: ({ type, id, maxPerMinute, digestMinutes, number }) => ({
    ...{ type, id, maxPerMinute, digestMinutes },
    destination: number,
    send(message) {
      rung.push(message);
      return Promise.resolve(answer);
    },
  }),
};
// The line in the list.
const kinds = [...channelKinds, pager as ChannelKind];

test('a new kind of channel gets alerts, tries, digests and dead letters as all others do', async () => {
  const settings = { type: 'pager', id: 'w', number: '0800', maxPerMinute: 2 };
  const channels = createChannels([settings], { now: () => startMs }, kinds);
  const w = await world({}, () => channels.list[0]!);
  await w.take(anAlert(), anAlert({ id: 'second' }), anAlert({ id: 'third' }));
  expect(rung.map(({ kind }) => kind)).toEqual(['alert', 'alert']);
  await w.run(2 * minute);
  expect(rung.at(-1)).toMatchObject({ kind: 'digest', digest: { messages: 1 } });

  answer = { kind: 'rejected', problem: 'the number is not in service' };
  await w.take(anAlert({ id: 'fourth', lastSeenAt: w.clock.nowMs }));
  await w.run(10 * minute);
  expect(w.deadLetters).toMatchObject([
    { reason: 'pager-refused', detail: 'pager w, alert fourth, revision 1: the number is not in service' },
  ]);
  expect(w.status()).toMatchObject({
    channel: 'w',
    problem: 'pager w: the number is not in service',
    deadLetters: 1,
  });
  await channels.close();
});

test('a type that does not exist is refused with those that do', () => {
  expect(() => createChannels([{ type: 'pgaer', id: 'w' }], { now: () => startMs }, kinds)).toThrow(
    'channel w: there is no type pgaer; allowed: webhook, pager',
  );
});
