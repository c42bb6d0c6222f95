import { drawProfile } from '../calendar.ts';
import { countryOf } from '../geo.ts';
import { person } from '../people.ts';
import { request, routes, words } from '../site.ts';
import type { Label, Span, Stage } from '../stage.ts';

/** Parameter values that vary for a harmless reason. */
export function addOddParameters(stage: Stage): void {
  const whole: Span = [stage.startMs, stage.endMs];
  const benign = (letter: string, title: string): Label =>
    stage.benign(`abnormal-parameter:not-${letter}`, 'abnormal-parameter', title);
  const random = stage.random('benign parameters');
  const who = person(stage, 'many-forms', {
    country: 'NL',
    profile: drawProfile(countryOf('NL').zone, random),
  });
  const device = who.devices[0]!;
  const get = (
    label: Label,
    at: keyof typeof routes,
    path: string,
    query: () => Record<string, string | true | string[]>,
    perDay = 12,
  ): void =>
    stage.poisson(random, whole, perDay / 1_440, null, (atMs) =>
      stage.send(request(device.client, device.ip(), atMs, routes[at], 'GET', path, query(), random), label),
    );

  get(benign('a', 'free text: names, sentences, other scripts'), 'search', '/catalog/search', () => ({
    q: random.pick([
      "O'Brien",
      'select all that apply',
      '你好 世界',
      'كتاب',
      'Łódź 🧥',
      'rock & roll; drop in',
      "it's <3",
      'C++ / C#',
      '1=1 puzzle',
    ]),
  }));
  get(benign('d', 'long opaque cursors'), 'files', '/files', () => ({
    path: 'public/list',
    cursor: Buffer.from(`offset:${random.int(9_999)}:${random.hex(40)}`).toString('base64'),
  }));
  get(benign('e', 'locale decimals'), 'products', '/catalog/products', () => ({
    category: 'lamps',
    price: random.pick(['12,50', '1.299,00', '9.99']),
  }));
  get(benign('f', 'numbers grow with time'), 'orders', '/orders', () => ({
    after: String(1_000_000 + random.int(100_000)),
  }));
  get(benign('g', 'JSON in a parameter'), 'products', '/catalog/products', () => ({
    filter: JSON.stringify({ size: [random.int(50)], color: random.pick(words) }),
  }));
  get(benign('h', 'empty value'), 'products', '/catalog/products', () => ({ category: '', page: '1' }));
  get(benign('i', 'repeated parameters, in any order'), 'products', '/catalog/products', () =>
    random.chance(0.5) ? { 'a[]': ['1', '2'], category: 'shoes' } : { category: 'shoes', 'a[]': ['2', '1'] },
  );
  get(benign('j', 'campaign parameters'), 'products', '/catalog/products', () => ({
    category: 'shoes',
    utm_source: 'newsletter',
    utm_campaign: `spring-${random.int(9)}`,
  }));
  get(benign('k', 'case changes'), 'products', '/catalog/products', () => ({
    category: random.pick(['Shoes', 'SHOES', 'shoes']),
  }));
}
