import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { format, resolveConfig } from 'prettier';
import { describe, expect, test } from 'vitest';
import { alertTypes } from '@tripline/detection';
import { actions } from './actions/index.ts';
import { JsonSyntaxError, lineAndColumn, readJson } from './json.ts';
import { matches } from './match.ts';
import { parsePolicies, policiesJsonSchema } from './parse.ts';
import { anAlert } from './test-support.ts';

const one = (policy: object): string => JSON.stringify({ policies: [policy] }, null, 2);
const good = { id: 'p', match: {}, actions: [{ type: 'block', duration: '15m' }] };

function problems(text: string): { line: number; column: number; path: string; message: string }[] {
  const parsed = parsePolicies(text, { alertTypes });
  return parsed.ok ? [] : parsed.problems;
}

describe('a valid policy file', () => {
  test('is read with its defaults', () => {
    const parsed = parsePolicies(`\ufeff${one(good)}`);
    expect(parsed).toMatchObject({
      ok: true,
      policies: {
        policies: [{ enabled: true, dryRun: false, actions: [{ status: 403, message: expect.any(String) }] }],
      },
    });
  });

  test('the published JSON Schema is the one that the parser applies', async () => {
    const path = fileURLToPath(new URL('../policies.schema.json', import.meta.url));
    const text = await format(JSON.stringify(policiesJsonSchema({ alertTypes })), {
      ...(await resolveConfig(path)),
      parser: 'json',
    });
    // If this fails: npx vitest run packages/policy --update
    await expect(text).toMatchFileSnapshot(path);
  });

  test('the table of actions in the README is that of the list of actions', async () => {
    const path = fileURLToPath(new URL('../README.md', import.meta.url));
    const table = await format(actions.table(), { ...(await resolveConfig(path)), parser: 'markdown' });
    expect(readFileSync(path, 'utf8'), `The README needs this table:\n${table}`).toContain(table);
  });

  test('the examples of the README are valid', () => {
    const readme = readFileSync(fileURLToPath(new URL('../README.md', import.meta.url)), 'utf8');
    const examples = [...readme.matchAll(/```json\n(.*?)```/gs)].map((found) => found[1]!);
    expect(examples.length).toBeGreaterThan(5);
    for (const example of examples) {
      const text = example.includes('"policies"') ? example : `{"policies": [${example}]}`;
      expect(problems(text), example).toEqual([]);
    }
  });
});

describe('an invalid policy file', () => {
  test('every problem is reported at once, with its line, path, the value given and what is allowed', () => {
    const text = `{
  "polices": [],
  "policies": [
    { "id": "Bad Id", "match": {}, "actions": [] },
    {
      "id": "second",
      "match": {
        "severityAtLeast": "hihg",
        "conumser": { "id": "x" },
        "not": { "type": "request-spikes", "network": 5 },
        "any": [{ "network": ["10.0.0.0/33", "10.0.0.1/8"] }, { "country": "uk" }]
      },
      "actions": [
        { "type": "blok", "duration": "5m" },
        { "type": "block", "duration": "5x", "status": 1, "sttaus": 3 },
        { "type": "rate-limit", "duration": "5m" },
        { "type": "rate-limit", "duration": "9999d", "second": 5, "minute": 2 }
      ]
    },
    { "id": "second", "actions": [{ "type": "notify" }] }
  ]
}`;
    expect(problems(text).map((problem) => `${problem.line} ${problem.path}: ${problem.message}`)).toEqual([
      '2 polices: unknown name "polices"; allowed: $schema, policies; did you mean "policies"?',
      '4 policies[0].id: "Bad Id" is not allowed here; allowed: 1 to 63 of a-z, 0-9 and -, not beginning with -',
      '4 policies[0].actions: [] is not allowed here; allowed: at least 1 entries',
      '8 policies[1].match.severityAtLeast: "hihg" is not allowed here; allowed: "low", "medium", "high", "critical"',
      '9 policies[1].match.conumser: unknown name "conumser"; allowed: type, severityAtLeast, service, route, endpoint, ' +
        'consumer, network, country, not, any, all; did you mean "consumer"?',
      expect.stringMatching(
        /^10 policies\[1\]\.match\.not\.type: "request-spikes" is not allowed.*did you mean "request-spike"\?$/,
      ),
      '10 policies[1].match.not.network: 5 is not allowed here; allowed: a text or a list of texts',
      expect.stringContaining(
        '11 policies[1].match.any[0].network[0]: "10.0.0.0/33" is not allowed here: the number behind / must be 0 to 32',
      ),
      expect.stringContaining('did you mean 10.0.0.0/8?'),
      expect.stringContaining('11 policies[1].match.any[1].country: "uk" is no country'),
      '14 policies[1].actions[0].type: "blok" is not allowed here; allowed: "block", "rate-limit", "notify"' +
        '; did you mean "block"?',
      expect.stringMatching(
        /^15 policies\[1\]\.actions\[1\]\.duration: "5x" is not allowed here; allowed: a number/,
      ),
      expect.stringMatching(
        /^15 policies\[1\]\.actions\[1\]\.status: 1 is not allowed here; allowed: at least \d+$/,
      ),
      '15 policies[1].actions[1].sttaus: unknown name "sttaus"; allowed: type, id, duration, status, message; did you mean "status"?',
      expect.stringMatching(
        /^16 policies\[1\]\.actions\[2\]: .*at least one of second, minute and hour is needed$/,
      ),
      expect.stringMatching(/^17 policies\[1\]\.actions\[3\]\.duration: "9999d" .*at most "3650d"/),
      expect.stringMatching(
        /^17 policies\[1\]\.actions\[3\]\.minute: 2 per minute is less than 5 per second/,
      ),
      '20 policies[2].match: match is missing; needed: an object { }',
      '20 policies[2].id: "second" is already the id of policies[1]; allowed: an id of its own',
      '20 policies[2].actions[0].webhook: webhook is missing; needed: a text',
    ]);
  });

  test.each([
    ['{\n  "policies": [\n    {},\n  ]\n}', 3, 7, 'a comma must not stand before ]'],
    ['{"policies": [] // none\n}', 1, 17, 'a comment (JSON has none)'],
    ["{'policies': []}", 1, 2, 'in double quotes'],
    ['{"policies": [yes]}', 1, 15, 'found yes'],
    ['{"policies": []', 1, 16, 'the end of the text'],
    ['{"policies": []} x', 1, 18, 'the text must end here'],
    ['{\n"policies": ["a\n"]}', 2, 14, 'no closing quote'],
    ['[01]', 1, 3, 'a comma or ] is expected'],
    [' ', 1, 1, 'empty'],
    ['[]', 1, 1, '[] is not allowed here; allowed: an object'],
    ['['.repeat(100_000), 1, 66, 'nested deeper than 64'],
    ['{"policies": [], "policies": []}', 1, 18, 'given twice'],
    ['{"__proto__": {}, "policies": []}', 1, 2, 'unknown name "__proto__"'],
  ])('%s is refused at line %i, column %i', (text, line, column, message) => {
    expect(problems(text)).toMatchObject([{ line, column, message: expect.stringContaining(message) }]);
  });

  test('a file of any text gives problems or policies, never an exception', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ unit: 'binary' }),
          fc.json(),
          fc.json().map((json) => `{"policies": [${json}]}`),
        ),
        (text) => {
          const parsed = parsePolicies(text, { alertTypes });
          return parsed.ok || parsed.problems.every((problem) => problem.line >= 1 && problem.message !== '');
        },
      ),
      { numRuns: 500 },
    );
  });
});

describe('reading JSON with positions', () => {
  test('accepts exactly what JSON.parse accepts, with the same value', () => {
    const texts = fc.oneof(
      fc.json(),
      fc
        .json()
        .chain((json) =>
          fc
            .tuple(
              fc.nat(json.length),
              fc.constantFrom('', ',', '"', '\\', '}', ']', '0', '.', 'e', ' ', '\n', '\t'),
            )
            .map(([at, char]) => json.slice(0, at) + char + json.slice(at + 1)),
        ),
    );
    fc.assert(
      fc.property(texts, (text) => {
        let expected: unknown;
        try {
          expected = JSON.parse(text);
        } catch {
          expect(() => readJson(text)).toThrow(JsonSyntaxError);
          return;
        }
        expect(readJson(text).value).toStrictEqual(expected);
      }),
      { numRuns: 2_000 },
    );
  });

  test('lines are counted by line feeds', () => {
    expect(lineAndColumn('a\r\nbc\nd', 4)).toEqual({ line: 2, column: 2 });
    expect(lineAndColumn('a\r\nbc\nd', 0)).toEqual({ line: 1, column: 1 });
  });
});

test('actions of one policy have ids of their own, given or by default', () => {
  const block = { type: 'block', duration: '5m' };
  const notify = { type: 'notify', webhook: 'w' };
  const found = (...actions: object[]): string[] =>
    problems(JSON.stringify({ policies: [{ id: 'p', match: {}, actions }] })).map(
      (problem) => `${problem.path}: ${problem.message}`,
    );
  expect(found({ ...block, id: 'a' }, { ...notify, id: 'b' }, block, block)).toEqual([]);
  expect(found({ ...block, id: 'a' }, notify, { ...notify, id: 'a' })).toEqual([
    'policies[0].actions[2].id: "a" is already the id of actions[0]; allowed: an id of its own',
  ]);
  expect(found({ ...notify, id: 'block-2' }, block, block)).toEqual([
    'policies[0].actions[0].id: "block-2" is already the id of actions[2], which has none of its own; allowed: an id of its own',
  ]);
  expect(found({ ...block, id: 'Bad Id' })[0]).toContain('allowed: 1 to 63 of a-z, 0-9 and -');
});

test('a consumer named by an e-mail address is found under its token too, also behind not', () => {
  const mask = (text: string): string => (text.includes('@') ? '~email~abc' : text);
  const text = one({ ...good, match: { consumer: { username: ['x', 'jo@acme.test', '*@acme.test'] } } });
  const parsed = parsePolicies(text, { mask });
  if (!parsed.ok) throw new Error('must parse');
  const match = parsed.policies.policies[0]!.match;
  const named = (username: string) =>
    anAlert({ actor: { kind: 'consumer', id: 'c', name: username, username } });
  expect(matches(match, named('~email~abc'))).toBe(true);
  expect(matches(match, named('jo@acme.test'))).toBe(true);
  expect(matches(match, named('~email~other'))).toBe(false);
});

test('a service and a route named by an address are found under its token too', () => {
  const mask = (text: string): string => (text.includes('@') ? '~email~abc' : text);
  const parsed = parsePolicies(
    one({ ...good, match: { service: 'jo@acme.test', route: ['x', 'jo@acme.test'] } }),
    { mask },
  );
  if (!parsed.ok) throw new Error('must parse');
  const { match } = parsed.policies.policies[0]!;
  expect(matches(match, anAlert({ service: '~email~abc', route: '~email~abc' }))).toBe(true);
  expect(matches(match, anAlert({ service: 'orders', route: '~email~abc' }))).toBe(false);
});
