import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ByteReader } from './byte-reader.ts';
import { ByteWriter } from './byte-writer.ts';

type Field = [write: (writer: ByteWriter) => void, read: (reader: ByteReader) => unknown, value: unknown];

const wellFormed = fc.string({ unit: 'binary' });
const anyUint = fc.oneof(fc.nat(300), fc.maxSafeNat());
const anyInt = fc.oneof(fc.integer({ min: -70, max: 70 }), fc.integer({ min: -(2 ** 52), max: 2 ** 52 - 1 }));
const anyNumber = fc.oneof(fc.integer(), fc.maxSafeInteger(), fc.double());
const anyHash = fc.integer({ min: 0, max: 2 ** 32 - 1 });

const leaf: fc.Arbitrary<Field> = fc.oneof(
  anyUint.map((value): Field => [(w) => w.uint(value), (r) => r.uint(), value]),
  anyInt.map((value): Field => [(w) => w.int(value), (r) => r.int(), value]),
  fc.double().map((value): Field => [(w) => w.double(value), (r) => r.double(), value]),
  anyNumber.map((value): Field => [(w) => w.number(value), (r) => r.number(), value]),
  fc
    .integer({ min: 0, max: 2 ** 48 - 1 })
    .map((value): Field => [(w) => w.uint48(value), (r) => r.uint48(), value]),
  fc.boolean().map((value): Field => [(w) => w.boolean(value), (r) => r.boolean(), value]),
  fc
    .array(fc.boolean(), { maxLength: 50 })
    .map((value): Field => [(w) => w.flags(...value), (r) => r.flags(value.length), value]),
  wellFormed.map((value): Field => [(w) => w.text(value), (r) => r.text(), value]),
  fc
    .option(wellFormed, { nil: undefined })
    .map((value): Field => [(w) => w.optionalText(value), (r) => r.optionalText(), value]),
  fc.array(wellFormed).map((value): Field => [(w) => w.texts(value), (r) => r.texts(), value]),
  fc.array(anyUint).map((value): Field => [(w) => w.uints(value), (r) => r.uints(), value]),
  fc.array(anyInt).map((value): Field => [(w) => w.ints(value), (r) => r.ints(), value]),
  fc.array(anyNumber).map((value): Field => [(w) => w.numbers(value), (r) => r.numbers(), value]),
  fc
    .array(anyUint)
    .map((values) => values.sort((a, b) => a - b))
    .map((value): Field => [(w) => w.sortedUints(value), (r) => r.sortedUints(), value]),
  fc.array(anyHash).map((value): Field => [(w) => w.hashes32(value), (r) => r.hashes32(), value]),
  fc
    .array(fc.integer({ min: 0, max: 2 ** 24 - 1 }))
    .map((value): Field => [(w) => w.hashes24(value), (r) => r.hashes24(), value]),
  fc
    .uint8Array({ maxLength: 300 })
    .map((value): Field => [(w) => w.section(value), (r) => new Uint8Array(r.sectionBytes()), value]),
);

/** Fields, some of them within sections of sections. */
const { fields } = fc.letrec<{ fields: Field[]; field: Field; section: Field }>((tie) => ({
  field: fc.oneof({ maxDepth: 3 }, leaf, tie('section')),
  fields: fc.array(tie('field'), { maxLength: 12 }),
  section: tie('fields').map((inner): Field => [
    (writer) => {
      const start = writer.beginSection();
      for (const [write] of inner) write(writer);
      writer.endSection(start);
    },
    (reader) => {
      const section = reader.section();
      const values = inner.map(([, read]) => read(section));
      section.expectEnd();
      return values;
    },
    inner.map(([, , value]) => value),
  ]),
}));

function bytesOf(written: readonly Field[], writer = new ByteWriter()): Buffer {
  for (const [write] of written) write(writer);
  return writer.take();
}

describe('bytes of a state', () => {
  it('are read back as the fields that were written, nested as they were', () => {
    const writer = new ByteWriter();
    fc.assert(
      fc.property(fields, (written) => {
        const reader = new ByteReader(bytesOf(written, writer));
        for (const [, read, value] of written) expect(read(reader)).toEqual(value);
        reader.expectEnd();
      }),
    );
  });

  it('are refused wherever they are cut off, with an Error and no other failure', () => {
    fc.assert(
      fc.property(fc.array(leaf, { minLength: 1, maxLength: 6 }), fc.nat(), (written, cut) => {
        const bytes = bytesOf(written);
        const reader = new ByteReader(bytes.subarray(0, cut % bytes.length));
        expect(() => {
          for (const [, read] of written) read(reader);
        }).toThrow('the state ends in the middle of a field');
      }),
    );
  });

  it('that nobody wrote are read as something or refused with an Error, without allocating what they claim', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), fields, (foreign, wanted) => {
        const reader = new ByteReader(Buffer.from(foreign));
        try {
          for (const [, read] of wanted) read(reader);
        } catch (error) {
          expect((error as Error).message).toMatch(/^the state (ends|has) /);
        }
      }),
    );
  });

  it('are few for small numbers: one byte below 128, and as many as LEB128 has for others', () => {
    const sizes = (values: number[]): number[] =>
      values.map((value) => bytesOf([[(writer) => writer.uint(value), () => 0, 0]]).length);
    expect(sizes([0, 127, 128, 16_383, 16_384, 2 ** 31, Number.MAX_SAFE_INTEGER])).toEqual([
      1, 1, 2, 2, 3, 5, 8,
    ]);
  });

  it('cannot hold a number that would be read back as another one', () => {
    const writer = new ByteWriter();
    for (const value of [-1, 0.5, NaN, Infinity, 2 ** 53])
      expect(() => writer.uint(value)).toThrow(
        `cannot write ${value}: allowed are whole numbers from 0 to 2^53 - 1`,
      );
    expect(() => writer.sortedUints([3, 2])).toThrow(RangeError);
    expect(() => writer.hash32(2 ** 32)).toThrow(RangeError);
    expect(() => writer.hash24(2 ** 24)).toThrow(RangeError);
  });

  it('of one state are no part of the next that the same writer writes', () => {
    const writer = new ByteWriter();
    writer.text('first');
    const first = writer.take();
    writer.text('other');
    writer.clear();
    writer.text('next!');
    expect(new ByteReader(writer.take()).text()).toBe('next!');
    expect(new ByteReader(first).text()).toBe('first');
  });
});
