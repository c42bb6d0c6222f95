import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { linesOfBody } from './body.ts';
import { bytesOf } from './frames.ts';

const cut = (body: string): string[] =>
  [...linesOfBody(Buffer.from(body))].map((line) => {
    const bytes = bytesOf(line);
    expect(line.bytes[line.end - 1]).toBe(10);
    expect(line.latin1.slice(line.begin, line.begin + bytes.length)).toBe(bytes.toString('latin1'));
    return bytes.toString().trim();
  });

describe('the lines of an http-log body', () => {
  it('are the elements of the array, whatever they hold and however they are set out', () => {
    fc.assert(
      fc.property(fc.array(fc.jsonValue()), fc.constantFrom(undefined, 1), (values, indent) => {
        const lines = cut(` ${JSON.stringify(values, null, indent)}\n`);
        expect(lines.map((line) => JSON.stringify(JSON.parse(line)))).toEqual(
          values.map((value) => JSON.stringify(value)),
        );
      }),
    );
  });

  it('are the one object, where it is not an array', () => {
    expect(cut('{"a":[1,2]}')).toEqual(['{"a":[1,2]}']);
    expect(cut('\n {"a":",]"} ')).toEqual(['{"a":",]"}']);
  });

  it('are none where there is nothing', () => {
    for (const body of ['', ' \n', '[]', '[ ]\n', '[,]']) expect(cut(body)).toEqual([]);
  });

  it('leave what goes wrong to be refused as one line, and keep those before it', () => {
    expect(cut('[{"a":1},{"b":2')).toEqual(['{"a":1}', '{"b":2']);
    expect(cut('[{"a":1},"no end]')).toEqual(['{"a":1}', '"no end]']);
    expect(cut('[{"a":1}]]')).toEqual(['{"a":1}', ']']);
    expect(cut('[{"a":1},{"b":2]}')).toEqual(['{"a":1}', '{"b":2]}']);
    expect(cut('[{"a":1} {"b":2}]')).toEqual(['{"a":1} {"b":2}']);
    expect(cut('[{"a":"\\\\"},{"b":"\\\\\\""}]')).toEqual(['{"a":"\\\\"}', '{"b":"\\\\\\""}']);
  });
});
