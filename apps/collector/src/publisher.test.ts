import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { transitions, type DeliveryEvent, type DeliveryState } from './delivery-states.ts';
import { busModes, maxValueChars, PublisherUnderTest, type BusMode } from './publisher-model.ts';

const scratch: string[] = [];
afterEach(() => {
  for (const path of scratch.splice(0)) rmSync(path, { recursive: true, force: true });
});

/** What a step must leave true: all promises that hold at every moment. */
class Step implements fc.AsyncCommand<object, PublisherUnderTest> {
  readonly #name: string;
  readonly #act: (under: PublisherUnderTest) => void | Promise<void>;

  constructor(name: string, act: (under: PublisherUnderTest) => void | Promise<void>) {
    this.#name = name;
    this.#act = act;
  }

  check(): boolean {
    return true;
  }

  async run(_model: object, under: PublisherUnderTest): Promise<void> {
    await this.#act(under);
    expect(under.faults()).toEqual([]);
  }

  toString(): string {
    return this.#name;
  }
}

const pad = fc.oneof(
  { weight: 9, arbitrary: fc.nat(100) },
  { weight: 1, arbitrary: fc.constant(maxValueChars) },
);
const lines = fc.record({ count: fc.integer({ min: 1, max: 12 }), pad });
const many = fc.record({ count: fc.constant(60), pad: fc.constant(20) });
/** Lines over TCP, and the moment after which they are flushed. */
const send = fc.oneof({ weight: 9, arbitrary: lines }, { weight: 1, arbitrary: many }).map(
  ({ count, pad }) =>
    new Step(`send ${count}×${pad}`, async (under) => {
      under.accept(count, pad);
      await under.advance(10);
    }),
);
const steps = [
  send,
  send,
  send,
  lines.map(({ count, pad }) => new Step(`accept ${count}×${pad}`, (under) => under.accept(count, pad))),
  lines.map(({ count, pad }) => new Step(`submit ${count}×${pad}`, (under) => under.submit(count, pad))),
  fc.constantFrom<BusMode>(...busModes).map((mode) => new Step(`bus ${mode}`, (under) => under.setBus(mode))),
  fc
    .constantFrom<BusMode>('works', 'works', 'away', 'silent')
    .map((mode) => new Step(`bus ${mode}`, (under) => under.setBus(mode))),
  fc.constantFrom(200, 6_000).map((ms) => new Step(`${ms} ms`, (under) => under.advance(ms))),
  fc.oneof(
    {
      weight: 1,
      arbitrary: fc
        .boolean()
        .map((broken) => new Step(`disk broken: ${broken}`, (under) => under.breakDisk(broken))),
    },
    { weight: 1, arbitrary: fc.constant(new Step('kill', (under) => under.kill())) },
    { weight: 1, arbitrary: fc.constant(new Step('restart', (under) => under.restart())) },
    { weight: 1, arbitrary: fc.constant(new Step('recover', (under) => under.recover())) },
  ),
];

describe('the publisher', () => {
  it('loses no line that it has not counted, repeats none without need and keeps the order of each key, whatever bus and disk do', async () => {
    await fc.assert(
      fc.asyncProperty(fc.commands(steps, { maxCommands: 80 }), async (commands) => {
        const dir = mkdtempSync(join(tmpdir(), 'tripline-publisher-'));
        scratch.push(dir);
        const under = new PublisherUnderTest(join(dir, 'spool'));
        await under.start();
        await fc.asyncModelRun(() => ({ model: {}, real: under }), commands);
        await under.recover();
        expect(under.faults()).toEqual([]);
        expect(under.faultsOnBus()).toEqual([]);
      }),
      { numRuns: 150 },
    );
  });
});

describe('the states of the publisher', () => {
  it('are drawn in README.md as the code changes them', () => {
    const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
    const drawn = [...readme.matchAll(/^ {4}(\w+) --> (\w+): ([a-z-]+)$/gm)].map(([, from, to, event]) => [
      from,
      event,
      to,
    ]);
    const coded = (Object.keys(transitions) as DeliveryState[]).flatMap((from) =>
      (Object.keys(transitions[from]) as DeliveryEvent[])
        .map((event) => [from, event, transitions[from][event]])
        .filter(([state, , next]) => state !== next),
    );
    expect(drawn.sort()).toEqual(coded.sort());
    expect(drawn).toHaveLength(5);
  });
});
