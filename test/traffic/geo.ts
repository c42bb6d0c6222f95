import type { Place } from '@tripline/kong';
import type { Zone } from './calendar.ts';
import { hashOf, type Random } from './random.ts';

type City = readonly [name: string, latitude: number, longitude: number];

export interface Country {
  code: string;
  zone: Zone;
  /** Where a database puts an address of which it knows the country only. */
  centroid: readonly [latitude: number, longitude: number];
  cities: readonly City[];
}

const europe = (offsetHours: number, easter = true): Zone => ({
  offsetHours,
  summerTime: 'european',
  easter,
});
const fixed = (offsetHours: number, easter = false): Zone => ({ offsetHours, summerTime: null, easter });
const america = (offsetHours: number): Zone => ({ offsetHours, summerTime: 'american', easter: false });

/** One time zone per country: enough for rhythms to differ. */
export const countries: readonly Country[] = [
  {
    code: 'DE',
    zone: europe(1),
    centroid: [51.3, 9.5],
    cities: [
      ['Berlin', 52.52, 13.4],
      ['Hamburg', 53.55, 9.99],
      ['Munich', 48.14, 11.58],
      ['Cologne', 50.94, 6.96],
    ],
  },
  {
    code: 'NO',
    zone: europe(1),
    centroid: [62, 10],
    cities: [
      ['Oslo', 59.91, 10.75],
      ['Bergen', 60.39, 5.32],
      ['Trondheim', 63.43, 10.4],
      ['Stavanger', 58.97, 5.73],
    ],
  },
  {
    code: 'GB',
    zone: europe(0),
    centroid: [54.8, -2.7],
    cities: [
      ['London', 51.51, -0.13],
      ['Manchester', 53.48, -2.24],
      ['Edinburgh', 55.95, -3.19],
      ['Bristol', 51.45, -2.59],
    ],
  },
  {
    code: 'FR',
    zone: europe(1),
    centroid: [46.5, 2.3],
    cities: [
      ['Paris', 48.86, 2.35],
      ['Lyon', 45.76, 4.84],
      ['Toulouse', 43.6, 1.44],
      ['Lille', 50.63, 3.06],
    ],
  },
  {
    code: 'ES',
    zone: europe(1),
    centroid: [40.2, -3.6],
    cities: [
      ['Madrid', 40.42, -3.7],
      ['Barcelona', 41.39, 2.17],
      ['Seville', 37.39, -5.99],
      ['Valencia', 39.47, -0.38],
    ],
  },
  {
    code: 'NL',
    zone: europe(1),
    centroid: [52.2, 5.6],
    cities: [
      ['Amsterdam', 52.37, 4.9],
      ['Rotterdam', 51.92, 4.48],
      ['Utrecht', 52.09, 5.12],
      ['Eindhoven', 51.44, 5.47],
    ],
  },
  {
    code: 'PL',
    zone: europe(1),
    centroid: [52.1, 19.4],
    cities: [
      ['Warsaw', 52.23, 21.01],
      ['Krakow', 50.06, 19.94],
      ['Gdansk', 54.35, 18.65],
      ['Wroclaw', 51.11, 17.04],
    ],
  },
  {
    code: 'US',
    zone: america(-5),
    centroid: [37.8, -97.8],
    cities: [
      ['New York', 40.71, -74.01],
      ['Miami', 25.76, -80.19],
      ['Chicago', 41.88, -87.63],
      ['Seattle', 47.61, -122.33],
    ],
  },
  {
    code: 'BR',
    zone: fixed(-3),
    centroid: [-10.8, -52.9],
    cities: [
      ['Sao Paulo', -23.55, -46.63],
      ['Rio de Janeiro', -22.91, -43.17],
      ['Recife', -8.05, -34.88],
      ['Brasilia', -15.79, -47.88],
    ],
  },
  {
    code: 'IN',
    zone: fixed(5.5),
    centroid: [22.9, 79.6],
    cities: [
      ['Mumbai', 19.08, 72.88],
      ['Delhi', 28.61, 77.21],
      ['Bengaluru', 12.97, 77.59],
      ['Kolkata', 22.57, 88.36],
    ],
  },
  {
    code: 'JP',
    zone: fixed(9),
    centroid: [36.6, 138],
    cities: [
      ['Tokyo', 35.68, 139.69],
      ['Osaka', 34.69, 135.5],
      ['Sapporo', 43.06, 141.35],
      ['Fukuoka', 33.59, 130.4],
    ],
  },
  { code: 'SG', zone: fixed(8), centroid: [1.35, 103.8], cities: [['Singapore', 1.29, 103.85]] },
  {
    code: 'AU',
    zone: fixed(10, true),
    centroid: [-25.7, 134.5],
    cities: [
      ['Sydney', -33.87, 151.21],
      ['Melbourne', -37.81, 144.96],
      ['Perth', -31.95, 115.86],
      ['Brisbane', -27.47, 153.03],
    ],
  },
  {
    code: 'ZA',
    zone: fixed(2, true),
    centroid: [-29, 25.1],
    cities: [
      ['Johannesburg', -26.2, 28.05],
      ['Cape Town', -33.93, 18.42],
    ],
  },
  {
    code: 'NG',
    zone: fixed(1),
    centroid: [9.6, 8.1],
    cities: [
      ['Lagos', 6.52, 3.38],
      ['Abuja', 9.08, 7.4],
    ],
  },
  {
    code: 'VN',
    zone: fixed(7),
    centroid: [16.6, 106.3],
    cities: [
      ['Hanoi', 21.03, 105.85],
      ['Ho Chi Minh City', 10.82, 106.63],
    ],
  },
];

export function countryOf(code: string): Country {
  return countries.find((country) => country.code === code)!;
}

export type NetworkKind = 'residential' | 'mobile' | 'business' | 'hosting' | 'vpn' | 'relay' | 'satellite';

export interface Network {
  kind: NetworkKind;
  /** Of the private-use range, so that no list of real networks applies. */
  asn: number;
  organization: string;
  /** The first octet of all its addresses. */
  octet: number;
  /** One of a carrier, all of those that span the world. */
  places: readonly { country: Country; city: City }[];
}

const reserved = new Set([10, 100, 127, 169, 172, 192, 198, 203]);

function makeNetworks(): Network[] {
  const made: Network[] = [];
  let octet = 20;
  const add = (kind: NetworkKind, organization: string, of: readonly Country[]): void => {
    while (reserved.has(octet)) octet++;
    made.push({
      kind,
      organization,
      asn: 64_512 + made.length,
      octet: octet++,
      places: of.flatMap((country) => country.cities.map((city) => ({ country, city }))),
    });
  };
  for (const country of countries) {
    add('residential', `${country.code} Telecom Broadband`, [country]);
    add('residential', `${country.code} Cable`, [country]);
    add('mobile', `${country.code} Mobile Wireless`, [country]);
    add('business', `${country.code} Business Networks`, [country]);
  }
  for (const name of ['Stratus Cloud', 'Blueberry Hosting', 'Nimbus Cloud Services', 'Rackpoint Servers'])
    add('hosting', name, countries);
  add('vpn', 'Veil VPN', countries);
  add('vpn', 'Corporate Secure Access (SASE)', countries);
  add('relay', 'Private Relay', countries);
  add('satellite', 'Skylink Satellite', countries);
  return made;
}

export const networks: readonly Network[] = makeNetworks();
const byOctet = new Map(networks.map((network) => [network.octet, network]));

/** The networks of a kind, of one country where they have one. */
export function networksOf(kind: NetworkKind, country?: string): readonly Network[] {
  return networks.filter(
    (network) =>
      network.kind === kind &&
      (country === undefined || network.places.some((place) => place.country.code === country)),
  );
}

/** Index of a place of the network by the city's name; the first one of the country by its code. */
export function placeIndex(network: Network, name: string): number {
  return network.places.findIndex(({ country, city }) => city[0] === name || country.code === name);
}

/**
 * An address of the network at one of its places. The second octet says which place, the third is a block that databases
 * know as one, so addresses of one `block` are always found at the same spot.
 */
export function address(network: Network, place: number, block: number, host: number, v6 = false): string {
  return v6
    ? `2a00:${network.octet.toString(16)}:${(place + 1).toString(16)}:${(block + 1).toString(16)}::${(host + 1).toString(16)}`
    : `${network.octet}.${place}.${block & 255}.${1 + (host % 254)}`;
}

export function drawAddress(
  network: Network,
  random: Random,
  place = random.int(network.places.length),
): string {
  return address(
    network,
    place,
    random.int(256),
    random.int(254),
    network.kind === 'mobile' && random.chance(0.3),
  );
}

/** An update of the database moves this block of addresses across the continent. */
export const movedBlock = {
  network: networks[0]!,
  place: 0,
  block: 255,
  toPlace: 2,
  toCountry: 'ES',
} as const;

/**
 * Where the operator's database finds an address, with the faults that such databases have: of one block in ten they know
 * the country only (and give its centroid), one in twenty is put into another city of the country, and mobile networks
 * show where they leave the carrier, give or take 200 km. After `movedAtMs` one block is somewhere else.
 */
export function createLocate(movedAtMs: number): (ip: string, atMs: number) => Place | undefined {
  let known = new Map<string, Place>();
  return (ip, atMs) => {
    const parts = partsOf(ip);
    if (!parts) return undefined;
    const moved =
      parts.network === movedBlock.network &&
      parts.place === movedBlock.place &&
      parts.block === movedBlock.block &&
      atMs >= movedAtMs;
    const key = `${parts.network.octet}.${parts.place}.${parts.block}${moved ? '*' : ''}`;
    let place = known.get(key);
    if (!place) {
      if (known.size > 100_000) known = new Map();
      known.set(key, (place = find(parts.network, parts.place, parts.block, moved)));
    }
    return place;
  };
}

function partsOf(ip: string): { network: Network; place: number; block: number } | undefined {
  const v6 = ip.includes(':');
  const parts = ip.split(v6 ? ':' : '.');
  const network = byOctet.get(parseInt(parts[v6 ? 1 : 0]!, v6 ? 16 : 10));
  if (!network) return undefined;
  const place = parseInt(parts[v6 ? 2 : 1]!, v6 ? 16 : 10) - (v6 ? 1 : 0);
  const block = parseInt(parts[v6 ? 3 : 2]!, v6 ? 16 : 10) - (v6 ? 1 : 0);
  return network.places[place] ? { network, place, block } : undefined;
}

function find(network: Network, place: number, block: number, moved: boolean): Place {
  const { asn, organization: asOrganization } = network;
  if (moved) {
    const country = countryOf(movedBlock.toCountry);
    const [city, latitude, longitude] = country.cities[movedBlock.toPlace]!;
    return { country: country.code, city, latitude, longitude, asn, asOrganization };
  }
  const { country, city: home } = network.places[place]!;
  const dice = hashOf(`${network.octet}.${place}.${block}`);
  const fault = dice % 100;
  // Blocks from 128 on are taken by scenarios that need to be found where they are.
  if (fault < 10 && block < 128) {
    const [latitude, longitude] = country.centroid;
    return { country: country.code, latitude, longitude, asn, asOrganization };
  }
  const [city, latitude, longitude] =
    fault < 15 && block < 128 ? country.cities[(dice >>> 8) % country.cities.length]! : home;
  const spread = network.kind === 'mobile' ? 1.8 : 0.08;
  const aside = (bits: number): number => ((((dice >>> bits) % 1_000) / 1_000) * 2 - 1) * spread;
  return {
    country: country.code,
    city,
    latitude: round(latitude + aside(4)),
    longitude: round(longitude + aside(14)),
    asn,
    asOrganization,
  };
}

function round(degrees: number): number {
  return Math.round(degrees * 10_000) / 10_000;
}
