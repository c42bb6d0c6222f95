import type { Alert, ApiCall } from '@tripline/model';
import { publishAlert, tallied } from '../alerts/alert.ts';
import { scoreOf } from '../alerts/episode.ts';
import { statusClasses, topEndpoints } from '../alerts/tally.ts';
import type { Sharing } from '../detectors/credential-sharing/sharing.ts';
import type { Travel, TravelFact } from '../detectors/impossible-travel/travel.ts';
import type {
  End,
  PlacesFinding,
  PlacesLearning,
  SharingEvidence,
  TravelEvidence,
} from './places-finding.ts';
import type { WhereaboutsState } from './whereabouts-state.ts';
import { isSettled, NOWHERE, type Network, type Places, type Sighting } from './places.ts';

/** What alerts about places show besides. */
interface CallsEvidence {
  /** What the alert was taken for at first, if that changed. */
  beganAs?: string;
  statuses: Record<string, number>;
  endpoints: { endpoint: string; count: number }[];
}

const FACT_WORDS: Record<TravelFact, string> = {
  newClient: 'with a client that it never used before',
  interleaved: 'in turn with its usual place',
  precedingFailures: 'after refused calls from there',
  otherNetwork: 'through another network',
};

/** What an alert says of impossible travel. `kmhHigh`: the speed that is allowed. */
export function travelFinding(
  places: Places,
  sighting: Sighting,
  travel: Travel,
  call: ApiCall,
  kmhHigh: number,
): PlacesFinding {
  const { strange, usual, km, kmh, gapMs, facts } = travel;
  const speed = kmh === null ? 0 : Math.min(1, Math.log10(kmh / kmhHigh));
  const score = Math.min(100, Math.round(40 + 15 * facts.length + 10 * speed));
  const [here, there] =
    strange === sighting.network
      ? [endOf(strange, call), endOf(usual)]
      : [endOf(strange), endOf(usual, call)];
  const apart =
    km === null
      ? `within ${Math.round(gapMs / 1_000)} s of ${wordsOf(there)}`
      : `${thousands(km)} km from ${wordsOf(there)}, ${durationOf(gapMs)} apart`;
  return {
    score,
    observed: kmh === null ? { value: 2, unit: 'countries/min' } : { value: kmh, unit: 'km/h' },
    expected:
      kmh === null
        ? { value: 1, low: 1, high: 1, unit: 'countries/min' }
        : { value: 0, low: 0, high: kmhHigh, unit: 'km/h' },
    words: `was used from ${wordsOf(here)}, ${apart}, ${facts.map((fact) => FACT_WORDS[fact]).join(', ')}`,
    evidence: {
      distanceKm: km,
      gapMs,
      speedKmh: kmh,
      facts,
      strange: here,
      usual: there,
      ...learningOf(places),
    },
  };
}

/** What an alert says of a shared credential. */
export function sharingFinding(places: Places, signs: readonly Sharing[]): PlacesFinding {
  const worst = signs.reduce((a, b) => (b.value / b.high > a.value / a.high ? b : a));
  return {
    score: Math.min(100, scoreOf(worst.value / worst.high) + 10 * signs.length),
    observed: { value: worst.value, unit: worst.unit },
    expected: {
      value: worst.sign === 'manyNewNetworks' ? places.newsUsual : worst.sign === 'timeZones' ? 1 : 0,
      low: 0,
      high: worst.high,
      unit: worst.unit,
    },
    words: `was used from ${signs.map(({ words }) => words).join('; ')}`,
    evidence: {
      signs: signs.map(({ sign, value, high, unit }) => ({ sign, value, high, unit })),
      usualNewNetworksPerDay: places.newsUsual,
      ...learningOf(places),
    },
  };
}

/** What the verdict rests on. */
function learningOf(places: Places): PlacesLearning {
  const own = places.networks.filter((network) => network.own);
  return {
    learning: isSettled(places) ? 'settled' : 'young',
    learntSince: places.firstMs,
    learntDays: places.activeDays,
    ownNetworks: own.map(({ asn, country }) => ({ asn, country })),
    ownClients: places.families.filter((family) => family.own).length,
  };
}

function endOf({ asn, country, latitude, longitude }: Network, call?: ApiCall): End {
  return {
    asn: asn === 0 ? null : asn,
    organization: call?.asOrganization ?? null,
    country: country === '' ? null : country,
    city: call?.city ?? null,
    latitude: latitude === NOWHERE ? null : latitude / 10,
    longitude: longitude === NOWHERE ? null : longitude / 10,
  };
}

function wordsOf({ asn, country, city }: End): string {
  const place = [city, country].filter((part) => part !== null).join(', ') || 'an unknown place';
  return asn === null ? place : `${place} (AS${asn})`;
}

function thousands(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+$)/g, ',');
}

function durationOf(ms: number): string {
  const minutes = Math.round(ms / 60_000);
  return minutes < 1
    ? 'less than a minute'
    : minutes < 120
      ? `${minutes} min`
      : `${Math.round(minutes / 60)} h`;
}

const REFERENCES = ['OWASP API2:2023', 'MITRE ATT&CK T1078'];

/** The next revision about the open episode. */
export function publishPlaces(state: WhereaboutsState, status: Alert['status']): Alert {
  const episode = state.episode!;
  const { tally } = state.strange!;
  const { worst } = episode;
  return publishAlert<(TravelEvidence | SharingEvidence) & CallsEvidence>(
    episode,
    {
      // The sources are those of strange networks and clients only: the owner is not to be blocked.
      ...tallied(tally),
      id: episode.id,
      type: episode.type,
      score: worst.score,
      actor: episode.actor,
      status,
      observed: { ...worst.observed },
      expected: { ...worst.expected },
      summary: `${episode.actor.name} ${worst.words} (learnt on ${worst.evidence.learntDays} days of its own traffic).`,
      evidence: {
        ...worst.evidence,
        ...(episode.beganAs === episode.type ? {} : { beganAs: episode.beganAs }),
        statuses: statusClasses(tally),
        endpoints: topEndpoints(tally),
      },
      references: REFERENCES,
    },
    state.places.newestMs,
  );
}
