import { Recent, RecencyList } from './recency-list.ts';

const hourMs = 3_600_000;
const maxEntries = 50_000;

/**
 * Counts, per address and service, calls that succeeded with an identity that was verified. Times are event times in ms. At most
 * 50,000 pairs of address and service are kept; beyond, the one that succeeded longest ago is forgotten.
 */
export interface AddressSuccesses {
  add: (address: string, service: string, atMs: number) => void;
  /** An estimate for the last hour: calls of the hour before the present one count in proportion. */
  count: (address: string, service: string, atMs: number) => number;
}

class Successes extends Recent {
  readonly address: string;
  readonly service: string;
  /** Hours since the epoch. */
  hour: number;
  inHour = 0;
  inHourBefore = 0;

  constructor(address: string, service: string, hour: number) {
    super();
    this.address = address;
    this.service = service;
    this.hour = hour;
  }

  advanceTo(hour: number): void {
    if (hour <= this.hour) return;
    this.inHourBefore = hour === this.hour + 1 ? this.inHour : 0;
    this.inHour = 0;
    this.hour = hour;
  }
}

export function createAddressSuccesses(): AddressSuccesses {
  const byAddress = new Map<string, Map<string, Successes>>();
  const recent = new RecencyList<Successes>();
  let entries = 0;

  const create = (address: string, service: string, hour: number): Successes => {
    const created = new Successes(address, service, hour);
    let services = byAddress.get(address);
    if (!services) byAddress.set(address, (services = new Map<string, Successes>()));
    services.set(service, created);
    entries++;
    return created;
  };

  const forget = (entry: Successes): void => {
    recent.remove(entry);
    const services = byAddress.get(entry.address)!;
    services.delete(entry.service);
    if (services.size === 0) byAddress.delete(entry.address);
    entries--;
  };

  return {
    add(address, service, atMs) {
      const hour = Math.floor(atMs / hourMs);
      const entry = byAddress.get(address)?.get(service) ?? create(address, service, hour);
      entry.advanceTo(hour);
      entry.inHour++;
      recent.use(entry);
      if (entries > maxEntries) forget(recent.oldest!);
    },
    count(address, service, atMs) {
      const entry = byAddress.get(address)?.get(service);
      if (!entry) return 0;
      entry.advanceTo(Math.floor(atMs / hourMs));
      return Math.round(entry.inHour + entry.inHourBefore * (1 - (atMs % hourMs) / hourMs));
    },
  };
}
