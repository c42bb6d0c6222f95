import { describe, expect, it } from 'vitest';
import { bytesOf, FrameSplitter, type Frame } from './frames.ts';

function split(chunks: (string | Buffer)[], maxLineBytes = 100): string[] {
  const splitter = new FrameSplitter(maxLineBytes);
  const out: string[] = [];
  const take = (frame: Frame): void => {
    out.push(frame.kind === 'line' ? bytesOf(frame).toString() : `too-long`);
  };
  for (const chunk of chunks) splitter.push(Buffer.from(chunk as string), take);
  splitter.end(take);
  return out;
}

describe('the frame splitter', () => {
  it('gives the same lines wherever the stream is cut', () => {
    const stream = '{"a":1}\n{"b":"é"}\r\n\n \r\n{"c":3}\n';
    const bytes = Buffer.from(stream);
    const whole = split([stream]);
    expect(whole).toEqual(['{"a":1}', '{"b":"é"}', '{"c":3}']);
    for (let at = 0; at <= bytes.length; at++)
      expect(split([bytes.subarray(0, at), bytes.subarray(at)])).toEqual(whole);
    expect(split([...bytes].map((byte) => Buffer.of(byte)))).toEqual(whole);
  });

  it('gives a thousand lines that come in one piece', () => {
    expect(split([Array.from({ length: 1_000 }, (_, i) => `{"n":${i}}\n`).join('')])).toHaveLength(1_000);
  });

  it('gives the last line of a stream that ends without a line feed', () => {
    expect(split(['{"a":1}\n{"b"', ':2}'])).toEqual(['{"a":1}', '{"b":2}']);
  });

  it('takes a line of exactly the limit and refuses one byte more, once, and goes on with the next', () => {
    const line = (bytes: number): string => 'x'.repeat(bytes);
    for (const end of ['\n', '\r\n']) {
      expect(split([`${line(99)}${end}${line(100)}${end}${line(101)}${end}ok\n`])).toEqual([
        line(99),
        line(100),
        'too-long',
        'ok',
      ]);
    }
  });

  it.each([1, 16, 1_448, 65_536])('holds at most twice the bytes of a line in pieces of %i', (size) => {
    const splitter = new FrameSplitter(200_000);
    let most = 0;
    for (let at = 0; at + size <= 150_000; at += size) {
      splitter.push(Buffer.alloc(size, 120), () => undefined);
      most = Math.max(most, splitter.heldBytes / splitter.pendingBytes);
    }
    expect(most).toBeGreaterThanOrEqual(1);
    expect(most).toBeLessThanOrEqual(2);
    splitter.drop();
    expect(splitter.heldBytes).toBe(0);
  });

  it('skips a line without end in bounded memory and tells of it once', () => {
    const splitter = new FrameSplitter(1_000);
    const out: Frame[] = [];
    for (let i = 0; i < 10_000; i++) {
      splitter.push(Buffer.alloc(1_000, 120), (frame) => out.push(frame));
      expect(splitter.pendingBytes).toBeLessThanOrEqual(1_001);
    }
    splitter.push(Buffer.from('\nnext\n'), (frame) => out.push(frame));
    expect(out.map((frame) => frame.kind)).toEqual(['too-long', 'line']);
  });
});
