import { dayMs, minuteMs } from '../calendar.ts';
import { countryOf, type NetworkKind } from '../geo.ts';
import {
  agents,
  clientOf,
  fixedDevice,
  ipAt,
  person,
  sittings,
  type Device,
  type Person,
} from '../people.ts';
import { mixes } from '../site.ts';
import type { Span, Stage } from '../stage.ts';

export const german = countryOf('DE').zone;

export const inSpan = ([from, until]: Span, atMs: number): boolean => atMs >= from && atMs < until;

/** Attacks that last for days take at most this share of a short run. */
export function atMost(stage: Stage, lengthMs: number, share = 0.4): number {
  return Math.min(lengthMs, share * stage.days * dayMs);
}

export function round(value: number): number {
  return Math.round(value * 1_000) / 1_000;
}

/** Somebody with a usual place, seen often enough to be known. */
export function resident(
  stage: Stage,
  name: string,
  country: string,
  city: string,
  callsPerDay = 60,
): Person {
  const who = person(stage, name, {
    country,
    mix: mixes.app,
    devices: (client, random) => [
      fixedDevice(client(random.pick(agents.browser)), ipAt(random, 'residential', country, city)),
    ],
  });
  sittings(stage, who, callsPerDay, [stage.startMs, stage.endMs], { perMinute: 5, meanMs: 4 * minuteMs });
  return who;
}

/** A device that uses somebody's credential from another place. */
export function thief(
  who: Person,
  kind: NetworkKind,
  country: string,
  city: string,
  userAgent: string,
): Device {
  return fixedDevice(clientOf(who.consumer, userAgent, who.random), ipAt(who.random, kind, country, city));
}
