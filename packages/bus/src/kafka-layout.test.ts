import { describe, expect, it } from 'vitest';
import { packMessage, unpackMessage } from './kafka-layout.ts';
import { bodyOf, measureBody, recordsOf, skipRecords } from './records.ts';

const textsOf = (body: Buffer): string[] => Array.from(recordsOf(body), (value) => value.toString());
const buffersOf = (...texts: string[]): Buffer[] => texts.map((text) => Buffer.from(text));

describe('a message of api-calls', () => {
  it('gives back the records that were packed', () => {
    const values = buffersOf('', '\n', '{"n":1}\n{"n":2}', '');
    expect(textsOf(unpackMessage(packMessage(values)))).toEqual(['', '\n', '{"n":1}\n{"n":2}', '']);
  });

  it('of version 0.1, one record a line, is read as records', () => {
    expect(textsOf(unpackMessage(Buffer.from('{"n":1}\n{"n":2}\n')))).toEqual(['{"n":1}', '{"n":2}']);
    expect(textsOf(unpackMessage(Buffer.from('{"n":1}\nrubbish')))).toEqual(['{"n":1}', 'rubbish']);
    expect(textsOf(unpackMessage(Buffer.of()))).toEqual([]);
  });

  it('that is damaged gives the records before the damage, whatever its bytes', () => {
    const whole = packMessage(buffersOf('one', 'two', 'three'));
    for (let length = 0; length < whole.length; length++) {
      const body = unpackMessage(whole.subarray(0, length));
      const { count, end } = measureBody(body);
      expect(textsOf(body)).toEqual(['one', 'two', 'three'].slice(0, count));
      expect(end < body.length).toBe(length > 1 && ![8, 15].includes(length));
    }
    const hostile = Buffer.concat([packMessage(buffersOf('one')), Buffer.of(0xff, 0xff, 0xff, 0xff, 1)]);
    expect(textsOf(unpackMessage(hostile))).toEqual(['one']);
  });
});

describe('a body', () => {
  it('is counted and skipped by records', () => {
    const body = bodyOf(buffersOf('a', '', 'ccc'));
    expect(measureBody(body)).toEqual({ count: 3, end: body.length });
    expect(measureBody(body, 2)).toEqual({ count: 2, end: 9 });
    expect(textsOf(skipRecords(body, 2))).toEqual(['ccc']);
    expect(textsOf(skipRecords(body, 5))).toEqual([]);
  });
});
