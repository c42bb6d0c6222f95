import type { ByteReader } from '../../codec/byte-reader.ts';
import type { ByteWriter } from '../../codec/byte-writer.ts';

/** In which order somebody goes through numeric ids. */
export interface Order {
  last: number;
  /** What most steps are, if one is most of them; with how many more steps than all others together. */
  stride: number;
  lead: number;
  steps: number;
  up: number;
}

/** Steps until anything is said. */
const LEAST_STEPS = 10;
/** Three steps in five are the same. */
const LEAD_SHARE = 0.2;
const UP_SHARE = 0.9;

export function newOrder(): Order {
  return { last: NaN, stride: 0, lead: 0, steps: 0, up: 0 };
}

/**
 * Notes the next id; NaN is passed over, and so is the same id again: ids of several endpoints may interleave. The usual
 * stride is found by majority vote (Boyer and Moore, "MJRTY", 1981), so that strays do not decide.
 */
export function step(order: Order, number: number): void {
  if (Number.isNaN(number) || number === order.last) return;
  if (!Number.isNaN(order.last)) {
    const stride = number - order.last;
    order.steps++;
    if (stride > 0) order.up++;
    if (order.lead === 0) order.stride = stride;
    order.lead += stride === order.stride ? 1 : -1;
  }
  order.last = number;
}

/** `sequential`, `reversed`, `strided`, `ascending`, `descending`, `random`, or `unknown` of few or no numbers. */
export function orderOf({ steps, lead, up, stride }: Order): string {
  if (steps < LEAST_STEPS) return 'unknown';
  if (lead >= LEAD_SHARE * steps) return stride === 1 ? 'sequential' : stride === -1 ? 'reversed' : 'strided';
  return up >= UP_SHARE * steps ? 'ascending' : up <= (1 - UP_SHARE) * steps ? 'descending' : 'random';
}

export function encodeOrder({ last, stride, lead, steps, up }: Order, writer: ByteWriter): void {
  writer.number(last);
  writer.number(stride);
  writer.int(lead);
  writer.uint(steps);
  writer.uint(up);
}

export function decodeOrder(reader: ByteReader): Order {
  return {
    last: reader.number(),
    stride: reader.number(),
    lead: reader.int(),
    steps: reader.uint(),
    up: reader.uint(),
  };
}
