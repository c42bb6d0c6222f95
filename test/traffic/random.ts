/** Seeded numbers (mulberry32): the same seed gives the same numbers everywhere. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** From 0 up to 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  }

  chance(odds: number): boolean {
    return this.next() < odds;
  }

  /** A whole number from 0 up to `below`. */
  int(below: number): number {
    return Math.floor(this.next() * below);
  }

  between(low: number, high: number): number {
    return low + this.next() * (high - low);
  }

  pick<T>(list: readonly T[]): T {
    return list[Math.floor(this.next() * list.length)]!;
  }

  exponential(mean: number): number {
    return -Math.log(1 - this.next()) * mean;
  }

  /** Heavy-tailed with this mean before the cut at `most`; `alpha` above 1. */
  pareto(mean: number, alpha: number, most: number): number {
    return Math.min(most, ((mean * (alpha - 1)) / alpha) * (1 - this.next()) ** (-1 / alpha));
  }

  /** Around `middle`, mostly within a factor of e^(2 x spread). The sum of three even numbers stands for a normal one. */
  around(middle: number, spread: number): number {
    return middle * Math.exp(spread * 2 * (this.next() + this.next() + this.next() - 1.5));
  }

  /** `count` hexadecimal digits, at most 8 per number drawn. */
  hex(count: number): string {
    let digits = '';
    while (digits.length < count)
      digits += Math.floor(this.next() * 4_294_967_296)
        .toString(16)
        .padStart(8, '0');
    return digits.slice(0, count);
  }

  uuid(): string {
    const digits = this.hex(32);
    return `${digits.slice(0, 8)}-${digits.slice(8, 12)}-4${digits.slice(13, 16)}-a${digits.slice(17, 20)}-${digits.slice(20)}`;
  }
}

/** A number that a name and a seed stand for (FNV-1a), so that one part of the traffic does not change another. */
export function hashOf(name: string, seed = 0): number {
  let hash = 0x811c9dc5 ^ seed;
  for (let at = 0; at < name.length; at++) hash = Math.imul(hash ^ name.charCodeAt(at), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  return (hash ^ (hash >>> 13)) >>> 0;
}
