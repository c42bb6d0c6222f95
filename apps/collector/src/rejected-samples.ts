import { jsonRecord, type Bus } from '@tripline/bus';
import type { DeadLetter } from '@tripline/model';

const samplesPerSecond = 10;
/** Samples that wait for the bus; further ones are left out. */
const maxInFlight = 100;

/** Keeps a sample of the lines that were refused on the topic `dead-letters`, in bounded number. */
export class RejectedSamples {
  readonly #bus: Bus;
  readonly #now: () => number;
  readonly #inFlight = new Set<Promise<void>>();
  #second = 0;
  #inSecond = 0;

  constructor(bus: Bus, now: () => number) {
    this.#bus = bus;
    this.#now = now;
  }

  /** `sample` is only called if the sample is kept. Never throws; a sample that the bus does not take is left out. */
  keep(reason: string, detail: string, sample: () => string): void {
    const receivedAt = this.#now();
    const second = Math.floor(receivedAt / 1_000);
    if (second !== this.#second) {
      this.#second = second;
      this.#inSecond = 0;
    }
    if (++this.#inSecond > samplesPerSecond || this.#inFlight.size >= maxInFlight) return;
    const letter: DeadLetter = { receivedAt, reason, detail, sample: sample() };
    const sent = this.#bus.publish('dead-letters', [jsonRecord(reason, letter)]).catch(() => undefined);
    this.#inFlight.add(sent);
    void sent.then(() => this.#inFlight.delete(sent));
  }

  /** Resolves when the bus has answered for those under way. */
  async settled(): Promise<void> {
    await Promise.all(this.#inFlight);
  }
}
