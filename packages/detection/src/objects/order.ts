/** In which order somebody goes through numeric ids. */
export interface Order {
  last: number;
  /** From the last number but one to the last. */
  stride: number;
  steps: number;
  /** Steps by the same stride as the one before. */
  same: number;
  up: number;
}

/** Steps until anything is said. */
const LEAST_STEPS = 10;
const SAME_SHARE = 0.6;
const UP_SHARE = 0.9;

export function newOrder(): Order {
  return { last: NaN, stride: 0, steps: 0, same: 0, up: 0 };
}

/** Notes the next id; NaN is passed over, and so is the same id again: ids of several endpoints may interleave. */
export function step(order: Order, number: number): void {
  if (Number.isNaN(number) || number === order.last) return;
  if (!Number.isNaN(order.last)) {
    const stride = number - order.last;
    order.steps++;
    if (stride === order.stride) order.same++;
    if (stride > 0) order.up++;
    order.stride = stride;
  }
  order.last = number;
}

/** `sequential`, `reversed`, `strided`, `ascending`, `descending`, `random`, or `unknown` of few or no numbers. */
export function orderOf({ steps, same, up, stride }: Order): string {
  if (steps < LEAST_STEPS) return 'unknown';
  if (same >= SAME_SHARE * steps) return stride === 1 ? 'sequential' : stride === -1 ? 'reversed' : 'strided';
  return up >= UP_SHARE * steps ? 'ascending' : up <= (1 - UP_SHARE) * steps ? 'descending' : 'random';
}

export type EncodedOrder = [last: number | null, stride: number, steps: number, same: number, up: number];

export function encodeOrder({ last, stride, steps, same, up }: Order): EncodedOrder {
  return [Number.isNaN(last) ? null : last, stride, steps, same, up];
}

export function decodeOrder([last, stride, steps, same, up]: EncodedOrder): Order {
  return { last: last ?? NaN, stride, steps, same, up };
}
