/**
 * A source that says nothing for so long, by the clock, while others wait for it is passed over: its processor cannot go on. A source
 * without calls says so, and one that is behind goes on speaking, so neither is.
 */
export const maxSilenceMs = 10 * 60_000;

/** Since when sources that others wait for have said nothing, so that one that cannot go on does not hold the others back for ever. */
export class SilentSources {
  readonly #now: () => number;
  readonly #waitedForSince = new Map<number, number>();

  /** `now`: wall clock, ms. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** The source has said something. */
  heard(source: number): void {
    this.#waitedForSince.delete(source);
  }

  /** Those of the sources that others wait for that have been silent for too long; each is given once. */
  tooLong(waitedFor: readonly number[]): number[] {
    const now = this.#now();
    for (const source of this.#waitedForSince.keys())
      if (!waitedFor.includes(source)) this.#waitedForSince.delete(source);
    const silent: number[] = [];
    for (const source of waitedFor) {
      const since = this.#waitedForSince.get(source) ?? now;
      this.#waitedForSince.set(source, since);
      if (now - since < maxSilenceMs) continue;
      this.#waitedForSince.delete(source);
      silent.push(source);
    }
    return silent;
  }
}
