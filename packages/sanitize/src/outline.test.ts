import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createSanitizer, maxOutlineChars, outline } from './index.ts';

const sanitizer = createSanitizer({ key: Buffer.alloc(32, 1), secretPatterns: ['ACME-\\d{4}'] });
const of = (text: string): string => outline(text, sanitizer);
const json = JSON.stringify;

const line = {
  started_at: 1_795_303_232_269,
  client_ip: '203.0.113.9',
  request: {
    id: '577b832ab1131d6d598e8f2ebd52da0c',
    method: 'POST',
    uri: '/v1/people?q=Jane&token=abc',
    size: 320,
    headers: { host: 'api.example.com', 'user-agent': 'agent of Jane', 'content-type': 'text/plain; Jane' },
  },
  response: { status: 200, size: '961' },
  service: { id: '933e2803-cd05-4f51-a2f5-64c4c9953398', name: 'people', created_at: 1_772_000_000 },
};

describe('the outline of a log line', () => {
  test('keeps its structure and the fields that hold no free text', () => {
    expect(JSON.parse(of(json(line)))).toEqual({
      ...line,
      request: {
        ...line.request,
        uri: '/v1/people?q=~text~&token=~text~',
        headers: { host: 'api.example.com', 'user-agent': '~text~ 13 chars', 'content-type': 'text/plain' },
      },
    });
  });

  test('keeps of bodies, prompts and answers names, lengths and small numbers only', () => {
    const bodies = {
      request: {
        body: { name: 'Jane Canarywood', pin: 4711, age: 52, ok: true, card: 4_111_111_111_111_111 },
      },
      ai: {
        proxy: { payload: { request: json({ content: 'I am Jane Canarywood' }), response: 'Dear "Jane"' } },
      },
      'Jane Canarywood': null,
    };
    expect(JSON.parse(of(json(bodies)))).toEqual({
      request: {
        body: {
          name: '~text~ 15 chars',
          pin: '~number~ 4 chars',
          age: 52,
          ok: true,
          card: '~number~ 16 chars',
        },
      },
      ai: { proxy: { payload: { request: '~text~ 34 chars', response: '~text~ 11 chars' } } },
      '~name~ 15 chars': null,
    });
  });

  test.each([
    ['{"request":{"body":{"note":"I am Jane and', '{"request":{"body":{"note":"~text~ 13 chars"'],
    ['{"q":"she said "I am Jane" there"}', '{"q":"~text~ 9 chars""~text~ 9 chars""~text~ 6 chars"}'],
    ['{"q":Jane is ill,"a":1}', '{"q":"~text~ 11 chars","a":1}'],
    ['[{"apikey": "hunter2" "x"}, "Jane"]', '[{"apikey":"~text~ 7 chars""~text~ 1 chars"},"~text~ 4 chars"]'],
  ])('is made of broken JSON as well: %s', (text, expected) => {
    expect(of(text)).toBe(expected);
  });

  test.each([
    ['rubbish of Jane', '~text~ 15 chars, beginning: aaaaaaa aa Aaaa'],
    ['GET /jane?k=1 HTTP/1.1\r\n', '~text~ 24 chars, beginning: GET /aaaa?a=9 HTTP/9.9\\x0d\\x0a'],
    ['\u0016\u0003\u0001Jané', '~text~ 7 chars, beginning: \\x16\\x03\\x01Aaa?'],
    ['"Jane is ill"', '~text~ 13 chars, beginning: "Aaaa aa aaa"'],
  ])('shows of other text what it looks like, in classes of characters: %j', (text, expected) => {
    expect(of(text)).toBe(expected);
  });

  test("shows no value of a known field that the sanitiser would take out, the operator's patterns included", () => {
    const text = of(
      json({
        request: {
          id: '4111111111111111',
          method: 'JANE@EXAMPLE.COM',
          uri: '/orders/ACME-1234/x/Jane%20Roe',
        },
        service: { name: 'jane@example.com' },
        authenticated_entity: { id: `ldap_auth_cache:${'0528907c'.repeat(8)}` },
      }),
    );
    expect(text).not.toMatch(/4111|jane|ACME|Roe|0528907c/i);
    expect(text).toContain('"uri":"/orders/~secret~');
  });

  test('of any text, nothing comes out that it was not made to hold, and it is bounded', () => {
    const word = fc.constantFrom('Canarywood', 'canary lane', 'canary"', '\\u0063anary', 'canary\n');
    const around = fc.constantFrom(
      '{',
      '}',
      '[',
      ']',
      ',',
      '"a":',
      '"',
      '\\',
      ' ',
      '1',
      'true',
      '"b":"',
      '{"request":{"body":{"n":"',
    );
    fc.assert(
      fc.property(fc.array(fc.oneof(word, around), { maxLength: 60 }), (pieces) => {
        // A word that stands as the name of a member is structure.
        const text = pieces.join('').replace(/canary\w*"\s*:/gi, 'x":');
        const made = of(text);
        expect(made.toLowerCase()).not.toContain('canary');
        expect(made.length).toBeLessThanOrEqual(maxOutlineChars);
      }),
      { numRuns: 1_000 },
    );
    for (const unit of ['{"a":', '[', '"', '\\', 'a', '{"a":"b",', '1,']) {
      expect(of(unit.repeat(200_000)).length).toBeLessThanOrEqual(maxOutlineChars);
    }
  });
});
