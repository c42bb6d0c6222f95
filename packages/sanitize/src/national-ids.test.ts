import { describe, expect, test } from 'vitest';
import { createSanitizer } from './index.ts';

const sanitizer = createSanitizer({ key: Buffer.alloc(32, 1) });
const kinds = (text: string): string =>
  text.replace(/~[a-z]+~[A-Za-z0-9_-]{22}/g, (found) => `<${found.split('~')[1]!}>`);

/** Made-up or published examples; the second of each pair has a wrong check, date or range. */
const pairs: [country: string, id: string, none: string][] = [
  ['United States', '078-05-1120', '666-05-1120'],
  ['United States', '219-09-9999', '219-00-9999'],
  ['Brazil', '529.982.247-25', '529.982.247-26'],
  ['Brazil', '11.222.333/0001-81', '11.222.333/0001-82'],
  ['Spain', '12345678Z', '12345678A'],
  ['Spain', '12345678-Z', '12345678-A'],
  ['Spain', 'X1234567L', 'X1234567M'],
  ['Italy', 'RSSMRA85T10A562S', 'RSSMRA85T10A562T'],
  ['Italy', 'rssmra85t10a562s', 'rssmra85t10a562t'],
  ['France', '2 55 08 14 168 025 38', '2 55 08 14 168 025 39'],
  ['France', '255081416802538', '255081416802539'],
  ['Sweden', '811228-9874', '811228-9875'],
  ['Sweden', '19811228-9874', '19811328-9874'],
  ['Finland', '131052-308T', '131052-308U'],
  ['Finland', '131052A308T', '131052A308U'],
  ['Norway', '290200 12380', '290200 12381'],
  ['India', '2341 2341 2346', '2341 2341 2347'],
  ['China', '11010519491231002X', '110105194912310021'],
  ['United Kingdom', 'AB123456C', 'BG123456C'],
  ['United Kingdom', 'AB 12 34 56 C', 'AB 12 34 56 E'],
  ['Germany', '86 095 742 719', '86 095 742 718'],
  ['Belgium', '85.07.30-033.28', '85.07.30-033.29'],
  ['Switzerland', '756.9217.0769.85', '756.9217.0769.86'],
  ['Chile', '12.345.678-5', '12.345.678-6'],
  ['Argentina', '20-12345678-6', '20-12345678-7'],
  ['Canada', '130-692-544', '130-692-545'],
  ['Singapore', 'S1234567D', 'S1234567E'],
  ['Mexico', 'BOXW310820HNERXN09', 'BOXW311320HNERXN09'],
  ['Thailand', '1-1012-34567-89-7', '1-1012-34567-89-8'],
];

describe('national ids', () => {
  test.each(pairs)('%s: %s goes, %s stays', (_, id, none) => {
    expect(kinds(sanitizer.text(`of ${id}, please`))).toBe('of <nationalid>, please');
    expect(kinds(sanitizer.text(id))).toBe('<nationalid>');
    expect(kinds(sanitizer.url(`/people?q=${encodeURIComponent(id)}&page=2`))).toBe(
      '/people?q=<nationalid>&page=2',
    );
    expect(kinds(sanitizer.text(`of ${none}, please`))).not.toContain('nationalid');
  });

  test('all ways of writing one give one token', () => {
    const token = sanitizer.token('nationalid', '12345678Z');
    expect(sanitizer.text('12345678Z')).toBe(token);
    expect(sanitizer.text('12345678-Z')).toBe(token);
    expect(sanitizer.parameter('dni', '12345678z')).toBe(token);
  });

  test.each([
    ['cpf', '52998224725'],
    ['bsn', '111222333'],
    ['pesel', '44051401359'],
    ['national_id', '85073003328'],
    ['nationalIdNumber', '85073003328'],
    ['personnummer', '8112289874'],
    ['passport_number', 'C01X00T47'],
    ['steuer-id', '86095742719'],
    ['tax_id', '86 095 742 719'],
  ])('plain digits go under the telling name %s, in parameters, JSON and paths', (name, id) => {
    expect(kinds(sanitizer.parameter(name, id))).toBe('<nationalid>');
    expect(kinds(sanitizer.url(`/a?${name}=${encodeURIComponent(id)}`))).toBe(`/a?${name}=<nationalid>`);
    expect(kinds(sanitizer.unknown(`{"${name}":"${id}"}`))).toBe(`{"${name}":"<nationalid>"}`);
    const segment = id.replaceAll(' ', '');
    if (name !== 'nationalIdNumber') {
      expect(kinds(sanitizer.path(`/people/${name}/${segment}/show`))).toBe(
        `/people/${name}/<nationalid>/show`,
      );
    }
  });

  test('plain digits without such a name stay, and words under one', () => {
    for (const text of ['52998224725', '111222333', '/orders/44051401359', '8112289874', '12345678909']) {
      expect(sanitizer.text(text)).toBe(text);
    }
    for (const [name, value] of [
      ['rfc', '9110'],
      ['sin', 'x'],
      ['dni', 'yes'],
      ['tin', 'true'],
    ] as const) {
      expect(sanitizer.parameter(name, value)).toBe(value);
    }
    expect(sanitizer.path('/id/123456789')).toBe('/id/123456789');
  });

  test('numbers that only contain such a form stay', () => {
    for (const text of ['9078-05-11201', 'a078-05-1120', '1.078-05-1120', '078-05-1120-7', '0078-05-1120'])
      expect(sanitizer.text(text)).toBe(text);
  });
});
