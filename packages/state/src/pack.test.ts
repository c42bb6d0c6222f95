import fc from 'fast-check';
import { expect, it } from 'vitest';
import { pack, unpack } from './pack.ts';

it('gives back any text, and never takes more than one byte above its UTF-8', () => {
  const json = fc.json().map((text) => text.toLowerCase());
  const text = fc.oneof(
    json,
    fc.stringMatching(/^[ -~]*$/),
    fc.string(),
    fc.string({ unit: 'binary' }),
    fc.stringMatching(/^[0-9a-z,[\]]*$/),
  );
  fc.assert(
    fc.property(text, (value) => {
      const packed = pack(value);
      expect(unpack(packed)).toBe(value);
      expect(packed.length).toBeLessThanOrEqual(Buffer.byteLength(value) + 1);
    }),
    { numRuns: 2_000, seed: 3 },
  );
});

it('gives back texts of any length, whatever came before them', () => {
  for (const length of [100_000, 0, 1, 2, 3, 4, 5, 4_095, 4_096, 4_097, 1_000_000, 7]) {
    for (const unit of ['0', 'Z', '0Z', '€'])
      expect(unpack(pack(unit.repeat(length)))).toBe(unit.repeat(length));
  }
});

it('takes seven eighths of the bytes of text in all of ASCII', () => {
  const text = 'The Quick Brown Fox Jumps Over The Lazy Dog & 13 More $ '.repeat(20);
  expect(pack(text).length / text.length).toBeLessThan(0.88);
});

it('hands on bytes that it did not write, for the reader to refuse', () => {
  expect(unpack(Buffer.from('[1,2]'))).toBe('[1,2]');
  expect(unpack(Buffer.from([1, 2]))).toBe('\u0001\u0002');
  expect(unpack(Buffer.from([8, 65, 66]))).toBe('\bAB');
  expect(unpack(Buffer.from([15]))).toBe('\u000f');
  expect(unpack(Buffer.alloc(0))).toBe('');
});
