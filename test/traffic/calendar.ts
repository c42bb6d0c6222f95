import type { Random } from './random.ts';

export const secondMs = 1_000;
export const minuteMs = 60_000;
export const hourMs = 60 * minuteMs;
export const dayMs = 24 * hourMs;

/**
 * Where every run ends: on Wednesday, 8 April 2026. So even a run of ten days has the European change of the clock
 * (29 March), a first of the month, a Monday, and Easter (3 to 6 April) with the return from it.
 */
export const endMs = Date.UTC(2026, 3, 8);
const europeanSummerMs = Date.UTC(2026, 2, 29, 1);
const americanSummerMs = Date.UTC(2026, 2, 8, 8);
const holidays = [
  [Date.UTC(2026, 3, 3), Date.UTC(2026, 3, 4)],
  [Date.UTC(2026, 3, 6), Date.UTC(2026, 3, 7)],
] as const;

export interface Zone {
  /** Ahead of UTC in winter. */
  offsetHours: number;
  summerTime: 'european' | 'american' | null;
  easter: boolean;
}

export function localMs(zone: Zone, atMs: number): number {
  const summer =
    zone.summerTime === 'european'
      ? atMs >= europeanSummerMs
      : zone.summerTime === 'american' && atMs >= americanSummerMs;
  return atMs + (zone.offsetHours + (summer ? 1 : 0)) * hourMs;
}

/** True on Saturdays, Sundays and holidays of the zone. */
export function isFree(zone: Zone, atMs: number): boolean {
  const local = localMs(zone, atMs);
  const weekday = (Math.floor(local / dayMs) + 4) % 7;
  if (weekday === 0 || weekday === 6) return true;
  return zone.easter && holidays.some(([from, until]) => local >= from && local < until);
}

/** The instant at which it is `hour` o'clock in the zone on the day (UTC) that begins at `dayStartMs`. */
export function instantOf(zone: Zone, dayStartMs: number, hour: number): number {
  const guess = dayStartMs + (hour - zone.offsetHours) * hourMs;
  return guess - (localMs(zone, guess) - guess - zone.offsetHours * hourMs);
}

/** How the rate of somebody changes over the week, in the somebody's own zone. */
export interface Profile {
  zone: Zone;
  /** Share of the rate by hour of the local day; 1 at the peak. */
  hours: readonly number[];
  /** Share on weekends and holidays. */
  free: number;
}

/** `peakToTrough` of 1 is flat. A higher `sharpness` makes the busy part of the day shorter. */
export function profileOf(
  zone: Zone,
  peakToTrough: number,
  peakHour: number,
  free: number,
  sharpness = 1,
): Profile {
  const hours = Array.from({ length: 24 }, (_, hour) => {
    const wave = ((1 + Math.cos(((hour + 0.5 - peakHour) / 24) * 2 * Math.PI)) / 2) ** sharpness;
    return 1 / peakToTrough + (1 - 1 / peakToTrough) * wave;
  });
  return { zone, hours, free };
}

/** Peak:trough of 2 to 4 as on public web traces, each with its own hour. */
export function drawProfile(zone: Zone, random: Random): Profile {
  return profileOf(zone, random.between(2, 4), random.between(10, 20), random.between(0.3, 1));
}

export function shareAt(profile: Profile, atMs: number): number {
  const hour = Math.floor(localMs(profile.zone, atMs) / hourMs) % 24;
  return profile.hours[hour]! * (profile.free < 1 && isFree(profile.zone, atMs) ? profile.free : 1);
}

/** The share on average over a week without holidays. */
export function meanShare(profile: Profile): number {
  return (profile.hours.reduce((sum, share) => sum + share, 0) / 24) * ((5 + 2 * profile.free) / 7);
}
