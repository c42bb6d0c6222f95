import type { ApiCall } from '@tripline/model';
import type { ByteReader } from '../../codec/byte-reader.ts';
import type { ByteWriter } from '../../codec/byte-writer.ts';
import { MINUTE_MS } from '../../baseline/limits.ts';
import { idHash } from '../../sketches/recent-ids.ts';
import {
  BLOCK_CALLS,
  BLOCK_PAUSE_FACTOR,
  BLOCKS_LEAST,
  BLOCKS_MEMORY,
  LOOP_DEVIATION_MOST,
  LOOP_GAP_LEAST_MS,
  LOOP_PAUSE_MS,
  LOOPS_KEPT,
  LOOPS_PER_MINUTE_MOST,
  VARIED_SHARE,
} from './limits.ts';
import { asksForCode, isLogin, signsEachCall } from './what-is-guessed.ts';

/**
 * One client (user agent) that is refused on one endpoint again and again. It is a retry loop, and no guessing, if nothing of
 * what the lines show of its credential changes, and if it comes slowly and evenly, as programs repeat what failed.
 */
export interface RetryLoop {
  /** Hash of user agent and endpoint. */
  client: number;
  /** Hash of what the calls show of what was presented: account, credential, size of the request. */
  content: number;
  /** Hash of client, account and credential: the same after a change of size. */
  identity: number;
  /** Whether the endpoint itself checks what is presented, so that the calls' bodies may hold guesses. */
  isLogin: boolean;
  /** Since the last pause of more than LOOP_PAUSE_MS. */
  sinceMs: number;
  lastMs: number;
  count: number;
  /** Calls with this content within the detector's window, and within its day. */
  inWindow: number;
  inDay: number;
  /** Calls of the client with another content, within the window. */
  varied: number;
  /** Mean duration of BLOCK_CALLS calls, its mean absolute deviation, and the number of blocks, up to BLOCKS_MEMORY. */
  blockMs: number;
  deviationMs: number;
  blocks: number;
  /** The block under way. */
  blockSinceMs: number;
  blockCalls: number;
}

const hash32 = (text: string): number => idHash(text) >>> 0;

/**
 * Adds a refused call to its client's loop, the one that comes last afterwards. Returns the loop if the call repeats its content;
 * undefined if it shows another content, or where codes are asked for: those are of one length, so that their size says nothing.
 */
export function addToLoops(loops: RetryLoop[], call: ApiCall): RetryLoop | undefined {
  if (asksForCode(call)) return undefined;
  const atMs = call.startedAt;
  const client = hash32(`${call.userAgent ?? ''} ${call.endpoint}`);
  const shown = hash32(`${call.user ?? ''} ${signsEachCall(call) ? '' : (call.credential ?? '')}`);
  const identity = (client ^ shown) >>> 0;
  const content = Math.imul(shown ^ call.requestBytes, 0x9e37_79b1) >>> 0;
  let at = loops.length - 1;
  while (at >= 0 && loops[at]!.client !== client) at--;
  const known = at < 0 ? undefined : loops[at]!;
  const loop = known ?? newLoop(client);
  for (; at >= 0 && at < loops.length - 1; at++) loops[at] = loops[at + 1]!;
  if (known) loops[loops.length - 1] = loop;
  else if (loops.push(loop) > LOOPS_KEPT) loops.shift();

  if (loop.content !== content || loop.identity !== identity) {
    // A client that only began, or paused, may go on with something else: that is the loop from here on.
    const isEstablished = loop.count >= BLOCK_CALLS && atMs - loop.lastMs <= LOOP_PAUSE_MS;
    if (isEstablished) {
      loop.varied++;
      return undefined;
    }
    restart(loop, content, identity, isLogin(call), atMs);
  }
  advance(loop, atMs);
  return loop;
}

function newLoop(client: number): RetryLoop {
  return {
    client,
    content: -1,
    identity: -1,
    isLogin: false,
    sinceMs: 0,
    lastMs: 0,
    count: 0,
    inWindow: 0,
    inDay: 0,
    varied: 0,
    blockMs: 0,
    deviationMs: 0,
    blocks: 0,
    blockSinceMs: 0,
    blockCalls: -1,
  };
}

function restart(loop: RetryLoop, content: number, identity: number, ofLogin: boolean, atMs: number): void {
  loop.content = content;
  loop.identity = identity;
  loop.isLogin = ofLogin;
  loop.sinceMs = loop.lastMs = loop.blockSinceMs = atMs;
  loop.count = loop.inWindow = loop.inDay = loop.varied = 0;
  loop.blockMs = loop.deviationMs = loop.blocks = 0;
  loop.blockCalls = -1;
}

function advance(loop: RetryLoop, atMs: number): void {
  const gapMs = atMs - loop.lastMs;
  if (gapMs > LOOP_PAUSE_MS) {
    loop.sinceMs = atMs;
    loop.count = 0;
  }
  loop.count++;
  loop.inWindow++;
  loop.inDay++;
  loop.lastMs = Math.max(loop.lastMs, atMs);
  // A device that was off for a while does not make the block before it uneven.
  const usualGapMs = loop.blocks > 0 ? loop.blockMs / BLOCK_CALLS : LOOP_PAUSE_MS;
  if (gapMs > BLOCK_PAUSE_FACTOR * usualGapMs) {
    loop.blockSinceMs = atMs;
    loop.blockCalls = 0;
    return;
  }
  if (++loop.blockCalls < BLOCK_CALLS) return;
  const tookMs = Math.max(0, atMs - loop.blockSinceMs);
  loop.blockSinceMs = atMs;
  loop.blockCalls = 0;
  if (loop.blocks > 0) {
    const deviationMs = Math.abs(tookMs - loop.blockMs);
    loop.deviationMs += Math.round((deviationMs - loop.deviationMs) / loop.blocks);
  }
  if (loop.blocks < BLOCKS_MEMORY) loop.blocks++;
  loop.blockMs += Math.round((tookMs - loop.blockMs) / loop.blocks);
}

/**
 * Whether nothing varies and the calls come slowly and evenly. Until BLOCKS_LEAST blocks tell whether they are even, a client is
 * given the benefit of the doubt where bodies hold no guesses: a page that polls a dozen endpoints begins a dozen loops at once.
 */
function isRetryLoop(loop: RetryLoop): boolean {
  if (loop.varied > VARIED_SHARE * loop.inWindow || gapMsOf(loop) < LOOP_GAP_LEAST_MS) return false;
  if (loop.blocks < BLOCKS_LEAST) return !loop.isLogin && loop.count > 1;
  return loop.deviationMs <= LOOP_DEVIATION_MOST * loop.blockMs;
}

/** Mean time between two calls. */
export function gapMsOf({ blocks, blockMs, sinceMs, lastMs, count }: RetryLoop): number {
  return blocks < BLOCKS_LEAST ? (lastMs - sinceMs) / Math.max(1, count - 1) : blockMs / BLOCK_CALLS;
}

/** The retry loops among the clients, the one that repeated most first, as far as they are together no faster than allowed. */
export function retryLoops(loops: readonly RetryLoop[]): readonly RetryLoop[] {
  let found: RetryLoop[] | undefined;
  for (const loop of loops) if (isRetryLoop(loop)) (found ??= []).push(loop);
  if (!found) return none;
  let perMinute = 0;
  return found
    .sort((a, b) => b.count - a.count || a.client - b.client)
    .filter((loop) => {
      const more = MINUTE_MS / gapMsOf(loop);
      if (perMinute + more > LOOPS_PER_MINUTE_MOST) return false;
      perMinute += more;
      return true;
    });
}

const none: readonly RetryLoop[] = [];

/** The window lost its older half, or all of it if it is `past`. */
export function rollLoops(loops: readonly RetryLoop[], past: boolean): void {
  for (const loop of loops) {
    loop.inWindow = past ? 0 : loop.inWindow >> 1;
    loop.varied = past ? 0 : loop.varied >> 1;
  }
}

/** Times before `newestMs`, so that they are short. */
export function encodeLoops(loops: readonly RetryLoop[], writer: ByteWriter): void {
  writer.uint(loops.length);
  for (const loop of loops) {
    writer.hash32(loop.client);
    writer.hash32(loop.content);
    writer.hash32(loop.identity);
    writer.boolean(loop.isLogin);
    writer.uint(loop.sinceMs);
    writer.int(loop.lastMs - loop.sinceMs);
    writer.uint(loop.count);
    writer.uint(loop.inWindow);
    writer.uint(loop.inDay);
    writer.uint(loop.varied);
    writer.number(loop.blockMs);
    writer.number(loop.deviationMs);
    writer.uint(loop.blocks);
    writer.int(loop.blockSinceMs - loop.sinceMs);
    writer.uint(loop.blockCalls);
  }
}

export function decodeLoops(reader: ByteReader): RetryLoop[] {
  const loops: RetryLoop[] = [];
  for (let left = reader.count(24); left > 0; left--) {
    const client = reader.hash32();
    const content = reader.hash32();
    const identity = reader.hash32();
    const isLogin = reader.boolean();
    const sinceMs = reader.uint();
    loops.push({
      client,
      content,
      identity,
      isLogin,
      sinceMs,
      lastMs: sinceMs + reader.int(),
      count: reader.uint(),
      inWindow: reader.uint(),
      inDay: reader.uint(),
      varied: reader.uint(),
      blockMs: reader.number(),
      deviationMs: reader.number(),
      blocks: reader.uint(),
      blockSinceMs: sinceMs + reader.int(),
      blockCalls: reader.uint(),
    });
  }
  return loops;
}
