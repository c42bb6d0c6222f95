import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import kafkajs from 'kafkajs';
import { newestKafka, oldestKafka, startKafka, type KafkaEngine } from '../../../test/engines/kafka.ts';
import { skipWithout } from '../../../test/engines/needs.ts';
import { busContract } from './bus.contract.ts';
import {
  BusUnavailableError,
  RecordTooLargeError,
  type Bus,
  type BusBatch,
  type ConsumeOptions,
} from './bus.ts';
import { createKafkaBus, type KafkaBusOptions } from './kafka-bus.ts';
import { recordsOf } from './records.ts';

const suite = (await skipWithout('the bus on Kafka', 'Kafka')) ? describe.skip : describe;

let prefixes = 0;
const newPrefix = (): string => `t${process.pid}-${Date.now()}-${++prefixes}.`;

function optionsFor(brokers: string[], more: Partial<KafkaBusOptions> = {}): KafkaBusOptions {
  return {
    brokers,
    clientId: 'test',
    topicPrefix: newPrefix(),
    partitions: 1,
    replicationFactor: 1,
    retentionHours: 1,
    ...more,
  };
}

async function until(
  what: () => boolean | Promise<boolean>,
  describeIt: () => unknown = () => '',
): Promise<void> {
  const end = Date.now() + 45_000;
  while (!(await what())) {
    if (Date.now() > end) throw new Error(`Waited in vain: ${JSON.stringify(describeIt())}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const linesOf = ({ body }: BusBatch): string[] => Array.from(recordsOf(body), (value) => value.toString());

/** Reads a topic into `seen` (value to how often). */
function count(bus: Bus, seen: Map<string, number>, more: Partial<ConsumeOptions> = {}) {
  return bus.consume({
    topic: 'api-calls',
    group: 'g',
    ...more,
    onBatch: async (batch) => {
      await more.onBatch?.(batch);
      for (const line of linesOf(batch)) seen.set(line, (seen.get(line) ?? 0) + 1);
    },
  });
}

for (const version of [newestKafka, oldestKafka]) {
  suite(`Kafka ${version}`, () => {
    let kafka: KafkaEngine | undefined;
    beforeAll(async () => {
      kafka = await startKafka({ version });
    });
    afterAll(async () => {
      await kafka?.dispose();
    });

    busContract(`Kafka ${version}`, (partitions) => {
      const options = optionsFor(kafka!.brokers, { partitions });
      let bus = createKafkaBus(options);
      return Promise.resolve({
        bus,
        reopen: async () => {
          await bus.close();
          bus = createKafkaBus(options);
          return bus;
        },
        dispose: () => bus.close(),
      });
    });
  });
}

suite('Kafka: groups', () => {
  let kafka: KafkaEngine | undefined;
  const buses: Bus[] = [];
  const open = (options: KafkaBusOptions): Bus => {
    const bus = createKafkaBus(options);
    buses.push(bus);
    return bus;
  };
  beforeAll(async () => {
    kafka = await startKafka();
  });
  afterAll(async () => {
    await Promise.all(buses.map((bus) => bus.close()));
    await kafka?.dispose();
  });

  it('shares partitions between consumers, and hands over under load without losing a record', async () => {
    const options = optionsFor(kafka!.brokers, { partitions: 6 });
    const publisher = open(options);
    const [first, second] = [open(options), open(options)];
    const seen = new Map<string, number>();
    const readBy = [new Set<number>(), new Set<number>()];
    const consume = (bus: Bus, who: number) =>
      count(bus, seen, {
        onBatch: ({ partition }) => {
          readBy[who]!.add(partition);
          return Promise.resolve();
        },
      });
    consume(first, 0);
    let sent = 0;
    const load = { on: true };
    const loading = (async () => {
      while (load.on) {
        await publisher.publish(
          'api-calls',
          Array.from({ length: 60 }, () => ({
            key: `actor-${sent % 97}`,
            value: Buffer.from(`{"n":${sent++}}`),
          })),
        );
      }
    })();
    await until(
      () => readBy[0]!.size === 6,
      () => [...readBy[0]!],
    );
    const joined = consume(second, 1);
    await until(
      () => readBy[1]!.size === 3,
      () => [...readBy[1]!],
    );
    readBy[0]!.clear();
    await until(() => readBy[0]!.size === 3);
    expect([...readBy[0]!, ...readBy[1]!].sort()).toEqual([0, 1, 2, 3, 4, 5]);
    await joined.stop();
    await until(() => readBy[0]!.size === 6);
    load.on = false;
    await loading;
    await until(
      () => seen.size === sent,
      () => [seen.size, sent],
    );
    const again = [...seen.values()].filter((times) => times > 1).length;
    // At least once: what was under way when its partition went may come again, and no more than that.
    expect(again).toBeLessThan(sent / 10);
  });

  it('leaves a partition that stays to its reader: no question where to begin, nothing twice', async () => {
    const options = optionsFor(kafka!.brokers, { partitions: 4 });
    const [first, second] = [open(options), open(options)];
    const asked: number[] = [];
    const revoked: number[] = [];
    const positions = new Map<number, number>();
    const seen = new Map<string, number>();
    first.consume({
      topic: 'api-calls',
      group: 'keeps',
      startAt: (partition) => {
        asked.push(partition);
        return Promise.resolve(positions.get(partition) ?? 0);
      },
      onRevoked: (partition) => revoked.push(partition),
      onBatch: (batch: BusBatch) => {
        for (const line of linesOf(batch)) seen.set(line, (seen.get(line) ?? 0) + 1);
        positions.set(batch.partition, batch.nextOffset);
        return Promise.resolve();
      },
    });
    const everywhere = (n: number) =>
      [0, 1, 2, 3].map((partition) => ({
        key: 'k',
        value: Buffer.from(`{"p":${partition},"n":${n}}`),
        partition,
      }));
    await first.publish('api-calls', everywhere(1));
    await until(() => seen.size === 4);
    expect([...asked].sort()).toEqual([0, 1, 2, 3]);
    const others = new Map<string, number>();
    const other = second.consume({
      topic: 'api-calls',
      group: 'keeps',
      startAt: (partition) => Promise.resolve(positions.get(partition) ?? 0),
      onBatch: (batch: BusBatch) => {
        others.set(`${batch.partition}`, batch.firstOffset);
        positions.set(batch.partition, batch.nextOffset);
        return Promise.resolve();
      },
    });
    await until(() => revoked.length === 2);
    await first.publish('api-calls', everywhere(2));
    await until(
      () => seen.size === 6 && others.size === 2,
      () => [seen.size, others.size],
    );
    // Two stayed, two went; other asked for those that stayed.
    expect(asked).toHaveLength(4);
    expect([...others.keys()].map(Number).sort()).toEqual([...revoked].sort());
    await other.stop();
    await until(() => asked.length === 6);
    expect(asked.slice(4).sort()).toEqual([...revoked].sort());
    await first.publish('api-calls', everywhere(3));
    await until(() => seen.size === 10);
    expect([...seen.values()].every((times) => times === 1)).toBe(true);
  });

  it('does not hold one partition up for another, and keeps its membership while a handler hangs', async () => {
    const options = optionsFor(kafka!.brokers, { partitions: 2 });
    const bus = open(options);
    let release: () => void = () => undefined;
    const hangs = new Promise<void>((resolve) => (release = resolve));
    const began: number[] = [];
    const revoked: number[] = [];
    const seen = new Map<string, number>();
    count(bus, seen, {
      onRevoked: (partition) => revoked.push(partition),
      onBatch: async ({ partition }) => {
        began.push(partition);
        if (partition === 0) await hangs;
      },
    });
    await bus.publish('api-calls', [{ key: 'k', value: Buffer.from('{"n":0}'), partition: 0 }]);
    await until(() => began.includes(0));
    const start = Date.now();
    // Longer than the session timeout.
    for (let n = 1; Date.now() - start < 12_000; n++) {
      await bus.publish('api-calls', [{ key: 'k', value: Buffer.from(`{"n":${n}}`), partition: 1 }]);
      await until(() => seen.has(`{"n":${n}}`));
    }
    release();
    await until(() => seen.has('{"n":0}'));
    expect(revoked).toEqual([]);
    expect([...seen.values()].every((times) => times === 1)).toBe(true);
  });

  it('tells the lag of groups that it does not consume for, in records also where they travel together', async () => {
    const options = optionsFor(kafka!.brokers, { partitions: 2 });
    const bus = open(options);
    const watcher = open({ ...options, groups: [{ topic: 'api-calls', group: 'g' }] });
    await bus.publish(
      'api-calls',
      Array.from({ length: 100 }, (_, n) => ({ key: `${n}`, value: Buffer.from(`{"n":${n}}`) })),
    );
    const seen = new Map<string, number>();
    const reader = count(bus, seen);
    const lagOf = async () => (await watcher.lag()).find(({ group }) => group === 'g')?.records;
    await until(async () => (await lagOf()) === 0);
    expect(seen.size).toBe(100);
    await reader.stop();
    await bus.publish(
      'api-calls',
      Array.from({ length: 100 }, (_, n) => ({ key: `${n}`, value: Buffer.from(`{"m":${n}}`) })),
    );
    // An estimate from the messages read before, which were as large.
    const lag = (await lagOf())!;
    expect(lag).toBeGreaterThanOrEqual(2);
    expect(lag).toBeLessThanOrEqual(200);
  });

  it('goes on with the oldest record that is kept, and says what was lost, where retention has overtaken a reader', async () => {
    const said: string[] = [];
    const options = optionsFor(kafka!.brokers, {
      onLog: (level, message) => level === 'error' && said.push(message),
    });
    const bus = open(options);
    for (let n = 0; n < 5; n++) await bus.publish('alerts', [{ key: 'k', value: Buffer.from(`{"n":${n}}`) }]);
    const admin = new kafkajs.Kafka({ brokers: kafka!.brokers, logLevel: kafkajs.logLevel.NOTHING }).admin();
    await admin.connect();
    // kafkajs finds the partition's leader only in what it has asked for before.
    await admin.fetchTopicOffsets(`${options.topicPrefix}alerts`);
    await admin.deleteTopicRecords({
      topic: `${options.topicPrefix}alerts`,
      partitions: [{ partition: 0, offset: '3' }],
    });
    await admin.disconnect();
    const seen = new Map<string, number>();
    const lost: number[][] = [];
    count(bus, seen, {
      topic: 'alerts',
      startAt: () => Promise.resolve(1),
      onLost: (...told) => lost.push(told),
    });
    await until(() => seen.size === 2);
    expect([...seen.keys()]).toEqual(['{"n":3}', '{"n":4}']);
    expect(lost).toEqual([[0, 1, 3]]);
    expect(said.join()).toMatch(/Messages 1 to 2 of .*alerts\/0 were deleted by Kafka's retention/);
  });

  it('refuses a record that is too large, naming topic, bytes and limit, and takes the next one', async () => {
    const options = optionsFor(kafka!.brokers);
    const bus = open(options);
    await bus.publish('alerts', [{ key: 'k', value: Buffer.from('{"n":1}') }]);
    const large = { key: 'k', value: Buffer.from(JSON.stringify('x'.repeat(5_000_000))) };
    const refused = bus.publish('alerts', [{ key: 'k', value: Buffer.from('{"n":2}') }, large]);
    await expect(refused).rejects.toBeInstanceOf(RecordTooLargeError);
    await expect(refused).rejects.toThrow(/alerts has 5000003 bytes; Kafka takes 4193280/);
    await bus.publish('alerts', [{ key: 'k', value: Buffer.from('{"n":3}') }]);
    const seen = new Map<string, number>();
    count(bus, seen, { topic: 'alerts' });
    await until(() => seen.size === 2);
    expect([...seen.keys()]).toEqual(['{"n":1}', '{"n":3}']);
  });

  it('finds the record that Kafka refuses as too large among others that it takes', async () => {
    const options = optionsFor(kafka!.brokers);
    const bus = open(options);
    await bus.publish('alerts', [{ key: 'k', value: Buffer.from('{"n":1}') }]);
    const admin = new kafkajs.Kafka({ brokers: kafka!.brokers, logLevel: kafkajs.logLevel.NOTHING }).admin();
    await admin.connect();
    // Lowered behind the bus's back.
    await admin.alterConfigs({
      validateOnly: false,
      resources: [
        {
          type: kafkajs.ConfigResourceTypes.TOPIC,
          name: `${options.topicPrefix}alerts`,
          configEntries: [{ name: 'max.message.bytes', value: '20000' }],
        },
      ],
    });
    await admin.disconnect();
    const noise = Array.from({ length: 50_000 }, () => Math.random().toString(36)[2]).join('');
    const results = await Promise.allSettled([
      bus.publish('alerts', [{ key: 'k', value: Buffer.from('{"n":2}') }]),
      bus.publish('alerts', [{ key: 'k', value: Buffer.from(JSON.stringify(noise)) }]),
      bus.publish('alerts', [{ key: 'k', value: Buffer.from('{"n":3}') }]),
    ]);
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect((results[1] as PromiseRejectedResult).reason).toBeInstanceOf(RecordTooLargeError);
    const seen = new Map<string, number>();
    count(bus, seen, { topic: 'alerts' });
    await until(() => seen.size >= 3);
    expect([...seen.keys()]).toEqual(['{"n":1}', '{"n":2}', '{"n":3}']);
  });

  it('says which topics have other numbers of partitions, and neither publishes nor consumes', async () => {
    const options = optionsFor(kafka!.brokers, { partitions: 2 });
    const made = open(options);
    await made.publish('alerts', [{ key: 'k', value: Buffer.from('{"n":1}') }]);
    const wrong = open({ ...options, partitions: 3 });
    const seen = new Map<string, number>();
    count(wrong, seen, { topic: 'alerts' });
    await until(() => /must have 3 partitions.*alerts has 2/.test(wrong.problem() ?? ''));
    await expect(wrong.publish('alerts', [{ key: 'k', value: Buffer.from('{}') }])).rejects.toThrow(
      /must have 3 partitions/,
    );
    expect(seen.size).toBe(0);
  });

  it('says that there are fewer brokers than replicas are wanted', async () => {
    const bus = open(optionsFor(kafka!.brokers, { replicationFactor: 3 }));
    await until(() =>
      /3 replicas.*1 broker.*bus.kafka.replicationFactor to at most 1/.test(bus.problem() ?? ''),
    );
  });

  it('makes a topic again that was deleted under way, and goes on', async () => {
    const options = optionsFor(kafka!.brokers);
    const bus = open(options);
    const seen = new Map<string, number>();
    count(bus, seen, { topic: 'alerts' });
    await bus.publish('alerts', [{ key: 'k', value: Buffer.from('{"n":1}') }]);
    await until(() => seen.size === 1);
    const admin = new kafkajs.Kafka({ brokers: kafka!.brokers, logLevel: kafkajs.logLevel.NOTHING }).admin();
    await admin.connect();
    await admin.deleteTopics({ topics: [`${options.topicPrefix}alerts`] });
    await admin.disconnect();
    await until(() =>
      bus.publish('alerts', [{ key: 'k', value: Buffer.from('{"n":2}') }]).then(
        () => true,
        (error: unknown) => {
          expect(error).toBeInstanceOf(BusUnavailableError);
          return false;
        },
      ),
    );
    await until(
      () => seen.has('{"n":2}'),
      () => bus.problem(),
    );
    await until(() => bus.problem() === null);
  });
});

suite('Kafka: a broker that comes and goes', () => {
  let kafka: KafkaEngine | undefined;
  beforeAll(async () => {
    kafka = await startKafka({ own: true });
  });
  afterAll(async () => {
    await kafka?.dispose();
  });

  it('starts without a broker, says so, and works as soon as there is one', async () => {
    await kafka!.stop();
    const bus = createKafkaBus(optionsFor(kafka!.brokers));
    try {
      const seen = new Map<string, number>();
      count(bus, seen, { topic: 'alerts' });
      await until(() => /not reachable at 127.0.0.1:[0-9]+.*ECONNREFUSED/.test(bus.problem() ?? ''));
      const began = Date.now();
      await expect(
        bus.publish('alerts', [{ key: 'k', value: Buffer.from('{"n":1}') }]),
      ).rejects.toBeInstanceOf(BusUnavailableError);
      expect(Date.now() - began).toBeLessThan(12_000);
      expect(await bus.lag()).toEqual([]);
      await kafka!.restart();
      await until(() => bus.problem() === null);
      await bus.publish('alerts', [{ key: 'k', value: Buffer.from('{"n":2}') }]);
      await until(() => seen.has('{"n":2}'));
    } finally {
      await bus.close();
    }
  });

  it('loses no record whose publish resolved when the broker is killed and restarted under load', async () => {
    const bus = createKafkaBus(optionsFor(kafka!.brokers, { partitions: 3 }));
    try {
      const seen = new Map<string, number>();
      count(bus, seen);
      const acknowledged: string[] = [];
      let refused = 0;
      let n = 0;
      const on = { load: true };
      const load = async (): Promise<void> => {
        while (on.load) {
          const records = Array.from({ length: 20 }, () => ({
            key: `actor-${n % 31}`,
            value: Buffer.from(`{"n":${n++}}`),
          }));
          try {
            await bus.publish('api-calls', records);
            acknowledged.push(...records.map(({ value }) => value.toString()));
          } catch (error) {
            expect(error).toBeInstanceOf(BusUnavailableError);
            refused++;
          }
        }
      };
      const loads = [load(), load(), load()];
      for (let kills = 0; kills < 2; kills++) {
        const before = acknowledged.length;
        await until(() => acknowledged.length > before + 2_000);
        await kafka!.kill();
        await kafka!.restart();
        const after = acknowledged.length;
        await until(
          () => acknowledged.length > after,
          () => [bus.problem(), refused],
        );
      }
      on.load = false;
      await Promise.all(loads);
      await until(
        () => acknowledged.every((value) => seen.has(value)),
        () => [bus.problem(), acknowledged.length, seen.size],
      );
      await until(() => bus.problem() === null);
    } finally {
      await bus.close();
    }
  });
});

suite('Kafka: TLS, passwords and rights', () => {
  let kafka: KafkaEngine | undefined;
  const withUser = (
    user: { username: string; password: string },
    ssl: KafkaBusOptions['ssl'],
  ): KafkaBusOptions => ({
    ...optionsFor([kafka!.secured!.broker]),
    sasl: { mechanism: 'plain', ...user },
    ...(ssl === undefined ? {} : { ssl }),
  });
  beforeAll(async () => {
    kafka = await startKafka({ secured: true });
  });
  afterAll(async () => {
    await kafka?.dispose();
  });

  it('publishes and consumes with TLS and a password', async () => {
    const bus = createKafkaBus(withUser(kafka!.secured!.admin, { ca: kafka!.secured!.ca }));
    try {
      const seen = new Map<string, number>();
      count(bus, seen);
      await bus.publish('api-calls', [{ key: 'k', value: Buffer.from('{"n":1}') }]);
      await until(() => seen.size === 1);
    } finally {
      await bus.close();
    }
  });

  it('needs no more rights than README.md says', async () => {
    const { other, ca } = kafka!.secured!;
    const options = withUser(other, { ca });
    const admin = new kafkajs.Kafka({ brokers: kafka!.brokers, logLevel: kafkajs.logLevel.NOTHING }).admin();
    await admin.connect();
    const { AclOperationTypes: may, AclResourceTypes: on } = kafkajs;
    const rights = [
      ...[may.CREATE, may.READ, may.WRITE].map((operation) => ({ resourceType: on.TOPIC, operation })),
      { resourceType: on.GROUP, operation: may.READ },
    ];
    await admin.createAcls({
      acl: rights.map((right) => ({
        ...right,
        resourceName: options.topicPrefix,
        resourcePatternType: kafkajs.ResourcePatternTypes.PREFIXED,
        principal: `User:${other.username}`,
        host: '*',
        permissionType: kafkajs.AclPermissionTypes.ALLOW,
      })),
    });
    await admin.disconnect();
    const bus = createKafkaBus(options);
    try {
      const seen = new Map<string, number>();
      const reader = count(bus, seen);
      await bus.publish('api-calls', [{ key: 'k', value: Buffer.from('{"n":1}') }]);
      await until(
        () => seen.size === 1,
        () => bus.problem(),
      );
      await reader.stop();
      expect(await bus.lag()).toEqual([{ topic: 'api-calls', group: 'g', records: 0 }]);
    } finally {
      await bus.close();
    }
  });

  it.each([
    [
      'a wrong password',
      () => withUser({ username: 'tripline', password: 'wrong' }, { ca: kafka!.secured!.ca }),
      /refused the login plain for user tripline.*bus.kafka.sasl/,
    ],
    [
      'a certificate of unknown authority',
      () => withUser(kafka!.secured!.admin, true),
      /certificate.*not accepted.*bus.kafka.tls/,
    ],
    [
      'a listener that wants TLS',
      () => withUser(kafka!.secured!.admin, undefined),
      /not reachable.*bus.kafka.tls/,
    ],
    [
      'no rights',
      () => withUser(kafka!.secured!.other, { ca: kafka!.secured!.ca }),
      /does not let this client see or make .*api-calls.*kafka-topics.sh --create --topic/,
    ],
  ])('says what to do about %s', async (_, options, words) => {
    const bus = createKafkaBus(options());
    try {
      await until(
        () => words.test(bus.problem() ?? ''),
        () => bus.problem(),
      );
    } finally {
      await bus.close();
    }
  });
});
