import type { Alert } from '@tripline/model';
import type { SharingSign } from '../detectors/credential-sharing/sharing.ts';
import type { TravelFact } from '../detectors/impossible-travel/travel.ts';

/** What an alert says besides its calls; as it was at its worst. */
export interface PlacesFinding {
  score: number;
  observed: Alert['observed'];
  expected: Alert['expected'];
  words: string;
  evidence: TravelEvidence | SharingEvidence;
}

/** What a finding about places rests on. */
export interface PlacesLearning {
  learning: 'settled' | 'young';
  learntSince: number;
  learntDays: number;
  ownNetworks: { asn: number; country: string }[];
  ownClients: number;
}

export interface TravelEvidence extends PlacesLearning {
  distanceKm: number | null;
  gapMs: number;
  speedKmh: number | null;
  facts: TravelFact[];
  strange: End;
  usual: End;
  /** What was strange went on for so long that it is taken for the actor's own. */
  adopted?: true;
}

export interface SharingEvidence extends PlacesLearning {
  signs: { sign: SharingSign; value: number; high: number; unit: string }[];
  usualNewNetworksPerDay: number;
  adopted?: true;
}

export interface End {
  asn: number | null;
  organization: string | null;
  country: string | null;
  city: string | null;
  latitude: number | null;
  longitude: number | null;
}
