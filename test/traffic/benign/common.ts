import { profileOf, type Profile } from '../calendar.ts';
import { countryOf } from '../geo.ts';

/** A profile without nights and weekends. */
export const flat = (country: string): Profile => profileOf(countryOf(country).zone, 1, 12, 1);
