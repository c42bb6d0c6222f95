const hourMs = 3_600_000;

/** Counts, per address and service, calls that succeeded with an identity that was verified. Times are ms of event time. */
export interface AddressSuccesses {
  add: (address: string, service: string, atMs: number) => void;
  /** Of the last hour, as an estimate: the hour before the present one counts in proportion. */
  count: (address: string, service: string, atMs: number) => number;
}

const entriesMost = 50_000;

/** At most 50,000 pairs of address and service are kept; beyond, the one that succeeded longest ago is forgotten. */
export function createAddressSuccesses(): AddressSuccesses {
  const counts = new Map<string, { hour: number; now: number; before: number }>();

  const at = (key: string, hour: number): { hour: number; now: number; before: number } | undefined => {
    const known = counts.get(key);
    if (known && hour > known.hour) {
      known.before = hour === known.hour + 1 ? known.now : 0;
      known.now = 0;
      known.hour = hour;
    }
    return known;
  };

  return {
    add(address, service, atMs) {
      const key = `${address} ${service}`;
      const hour = Math.floor(atMs / hourMs);
      const known = at(key, hour) ?? { hour, now: 0, before: 0 };
      known.now++;
      counts.delete(key);
      counts.set(key, known);
      if (counts.size > entriesMost) counts.delete(counts.keys().next().value!);
    },
    count(address, service, atMs) {
      const known = at(`${address} ${service}`, Math.floor(atMs / hourMs));
      return known ? Math.round(known.now + known.before * (1 - (atMs % hourMs) / hourMs)) : 0;
    },
  };
}
