import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { apiCallSchema, type ApiCall } from '../api-call.ts';
import { encodeApiCall } from './encode.ts';
import { apiCallFields, type ApiCallField } from './fields.ts';
import { readApiCall } from './read.ts';
import { apiCallRow } from './row.ts';

/** As it is after a trip as UTF-8. */
const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.string({ minLength: 60, maxLength: 300 }),
  fc.constantFrom(
    '__proto__',
    'constructor',
    '7',
    'ü'.repeat(63),
    'ü'.repeat(64),
    'x'.repeat(127),
    'x'.repeat(128),
  ),
  fc.nat(6_000).map((length) => '中'.repeat(length)),
);
const filled = text.filter((value) => value !== '');
/** In the order in which an object has its names. */
const mapOf = <Value>(value: fc.Arbitrary<Value>): fc.Arbitrary<Record<string, Value>> =>
  fc
    .uniqueArray(fc.tuple(text, value), { minLength: 1, maxLength: 5, selector: ([name]) => name })
    .map((entries) => Object.fromEntries(entries));

function valueOf({ name, column, isRequired, isFilled, values }: ApiCallField): fc.Arbitrary<unknown> {
  switch (column) {
    case 'String':
    case 'LowCardinality(String)':
      if (values) return fc.constantFrom(...values);
      return isRequired && !isFilled ? text : filled;
    case 'Array(String)':
      return fc.array(text, { minLength: 1, maxLength: 5 });
    case 'Map(String, String)':
      return mapOf(text);
    case 'Map(String, Array(String))':
      return mapOf(fc.array(text, { maxLength: 3 }));
    case 'Bool':
      return fc.constant(true);
    case 'Nullable(Float64)':
      return fc.double({ noNaN: true, noDefaultInfinity: true });
    case 'DateTime64(3)':
      return fc.maxSafeNat().map((value) => Math.min(value, 8.64e15));
    case 'UInt64':
      return fc.maxSafeNat();
    default: {
      const max = column.includes('16') ? 0xffff : 0xffff_ffff;
      const isZeroLeftOut = column === 'UInt32' && name !== 'latencyMs';
      return fc.integer({ min: isZeroLeftOut ? 1 : 0, max });
    }
  }
}

const required = apiCallFields.filter(({ isRequired }) => isRequired);
const call = fc.record(Object.fromEntries(apiCallFields.map((field) => [field.name, valueOf(field)])), {
  requiredKeys: required.map(({ name }) => name),
  noNullPrototype: true,
}) as unknown as fc.Arbitrary<ApiCall>;

/** All fields that are there. */
function plain(read: ApiCall | string): unknown {
  if (typeof read === 'string') throw new Error(read);
  return (read as ApiCall & { toJSON: () => unknown }).toJSON();
}

/** Equal, also where a name is one of `Object.prototype`, as `constructor` is. */
function expectSame(found: unknown, expected: unknown): void {
  if (!isDeepStrictEqual(found, expected)) expect(found).toStrictEqual(expected);
  expect(isDeepStrictEqual(found, expected)).toBe(true);
}

const least: ApiCall = {
  id: 'abcdefgh.1',
  startedAt: 1_700_000_000_000,
  actorKind: 'address',
  actorId: '203.0.113.9',
  actorName: '203.0.113.9',
  method: 'GET',
  path: '/orders/17',
  endpoint: 'GET /orders/{id}',
  status: 200,
  source: 'upstream',
  requestBytes: 0,
  responseBytes: 0,
  latencyMs: 0,
};

describe('the record of an API call', () => {
  it('names each field of an API call once', () => {
    expect(apiCallFields.map(({ name }) => name).sort()).toEqual(Object.keys(apiCallSchema.shape).sort());
    for (const { name, isRequired } of apiCallFields)
      expect(apiCallSchema.shape[name].safeParse(undefined).success, name).toBe(isRequired !== true);
  });

  it('gives back every field of any call, in the order of its names, and leaves out what the call leaves out', () => {
    fc.assert(
      fc.property(call, (one) => {
        const read = readApiCall(encodeApiCall(one)) as ApiCall;
        // As they are asked for, in any order and again.
        for (const { name } of [...apiCallFields].reverse()) expectSame(read[name], one[name]);
        expectSame(plain(read), one);
        for (const name of ['query', 'cookies', 'headers'] as const)
          expect(Object.keys(read[name] ?? {})).toEqual(Object.keys(one[name] ?? {}));
        expectSame(JSON.parse(JSON.stringify(read)), JSON.parse(JSON.stringify(one)));
      }),
      { numRuns: 100 },
    );
  });

  it('holds U+FFFD for half a surrogate pair, and the limit of the column for a number beyond it', () => {
    const odd = { ...least, path: '/\ud800x', actorName: '\udc00', latencyMs: 2 ** 40, status: -1 };
    expect(plain(readApiCall(encodeApiCall(odd)))).toEqual({
      ...least,
      path: '/\ufffdx',
      actorName: '\ufffd',
      latencyMs: 2 ** 32 - 1,
      status: 0,
    });
  });

  it('is not changed by records that are written after it', () => {
    const first = encodeApiCall(least);
    const copy = Buffer.from(first);
    for (let n = 0; n < 2_000; n++) encodeApiCall({ ...least, path: `/${'x'.repeat(n)}` });
    expect(first.equals(copy)).toBe(true);
  });

  it('may have more fields, of a newer version, which are left out, or fewer, of an older one', () => {
    const record = encodeApiCall({ ...least, workspace: 'w' });
    const newer = Buffer.concat([record, Buffer.from('text of a new field')]);
    newer[0] = apiCallFields.length + 1;
    expect(plain(readApiCall(newer))).toEqual({ ...least, workspace: 'w' });
    expect(apiCallRow(newer)).toEqual({ fields: apiCallFields.length, bytes: record.subarray(1) });

    const older = record.subarray(0, -'\u0001w'.length);
    older[0] = apiCallFields.length - 1;
    expect(plain(readApiCall(older))).toEqual(least);
    expect(apiCallRow(older)).toEqual({ fields: apiCallFields.length - 1, bytes: older.subarray(1) });
  });

  it('may be the JSON of version 0.1, and becomes the row that it would be today', () => {
    const json = Buffer.from(JSON.stringify({ ...least, later: 1 }));
    expect(readApiCall(json)).toMatchObject(least);
    expect(apiCallRow(json)).toEqual(apiCallRow(encodeApiCall(least)));
    expect(readApiCall(Buffer.from('{"id":"x"'))).toBe('no JSON object');
    expect(readApiCall(Buffer.from('{"id":5}'))).toBe('no API call: id is missing or has another type');
    expect(apiCallRow(Buffer.from('{}'))).toBe('no API call: id is missing or has another type');
  });
});

describe('a record that is none', () => {
  const whole = encodeApiCall({ ...least, query: { a: ['1'] }, cookies: { b: 'c' }, consumerTags: ['t'] });

  it('is refused in words wherever it is cut off, or has more behind it', () => {
    for (let length = 0; length < whole.length; length++)
      expect(readApiCall(whole.subarray(0, length)), `${length}`).toMatch(/^no API call: /);
    expect(readApiCall(Buffer.concat([whole, Buffer.of(0)]))).toBe(
      'no API call: there is more behind its last field',
    );
  });

  it('never throws and never takes more than its own length, whatever its bytes; what is read of it can be written again', () => {
    const changed = fc
      .array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 })
      .map((changes) => {
        const record = Buffer.from(whole);
        for (const [at, byte] of changes) record[at] = byte;
        return record;
      });
    const any = fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes));
    const begun = fc
      .uint8Array({ maxLength: 400 })
      .map((bytes) => Buffer.from([apiCallFields.length, ...bytes]));
    fc.assert(
      fc.property(fc.oneof(changed, any, begun), (record) => {
        const read = readApiCall(record);
        const row = apiCallRow(record);
        expect(typeof row === 'string').toBe(typeof read === 'string');
        if (typeof read === 'string') return;
        const again = encodeApiCall(plain(read) as ApiCall);
        expectSame(plain(readApiCall(again)), plain(read));
      }),
      { numRuns: 3_000 },
    );
  });

  it('cannot make a large list or map out of a few bytes', () => {
    const huge = [0xff, 0xff, 0xff, 0xff, 0x0f];
    for (const name of ['id', 'consumerTags', 'query', 'cookies'] as const) {
      const index = apiCallFields.findIndex((field) => field.name === name);
      // Every field before it is empty or refused before; the count or length itself must not be believed.
      const before = Buffer.from(encodeApiCall(least));
      const at = positionOf(before, index);
      const record = Buffer.concat([before.subarray(0, at), Buffer.from(huge), before.subarray(at + 1)]);
      expect(readApiCall(record)).toBe(`no API call: ${name} is cut off or has a value that it cannot have`);
    }
  });

  it('is refused if a length is written longer than it need be, which ClickHouse might read otherwise', () => {
    const at = positionOf(whole, 0);
    const padded = Buffer.concat([
      whole.subarray(0, at),
      Buffer.of(whole[at]! | 0x80, 0),
      whole.subarray(at + 1),
    ]);
    expect(readApiCall(padded)).toMatch(/^no API call: id /);
  });

  it('is refused with a value that the field cannot have', () => {
    for (const [name, value] of [
      ['actorKind', 'robot'],
      ['source', ''],
      ['auth', 'maybe'],
      ['id', ''],
      ['actorId', ''],
      ['startedAt', 8.64e15 + 1],
    ] as const) {
      const record = encodeApiCall({ ...least, [name]: value });
      expect(readApiCall(record)).toBe(`no API call: ${name} is cut off or has a value that it cannot have`);
    }
  });
});

/** Where a field of `least` begins, found by writing the calls that differ in it and what is behind it. */
function positionOf(record: Buffer, index: number): number {
  const { name, column } = apiCallFields[index]!;
  const other = column.startsWith('Map')
    ? { x: column.endsWith('))') ? ['y'] : 'y' }
    : column.startsWith('Array')
      ? ['x']
      : 'another text that is quite long';
  const changed = encodeApiCall({
    ...(readApiCall(record) as ApiCall & { toJSON: () => ApiCall }).toJSON(),
    [name]: other,
  });
  let at = 0;
  while (record[at] === changed[at]) at++;
  return at;
}
