const hourMs = 3_600_000;

/**
 * Remembers since when credentials have been in use that Kong did not verify, so that one which is invented anew for each
 * request never becomes an actor. Times are ms of event time.
 */
export interface CredentialAges {
  /** Notes that a call with the credential (a token) was served. */
  served: (credential: string, atMs: number) => void;
  /** Whether a call with it was served an hour ago already. */
  isEstablished: (credential: string, atMs: number) => boolean;
  /** How many credentials that were new this address has brought within its hour, this one included. */
  newcomersOf: (address: string, credential: string, atMs: number) => number;
}

/** At most `maxEntries` credentials and as many addresses are kept; beyond, those that came first are forgotten and begin anew. */
export function createCredentialAges(maxEntries = 100_000): CredentialAges {
  const firstServedMs = new Map<string, number>();
  const newcomers = new Map<string, { hour: number; credentials: Set<string> }>();

  const bound = (map: Map<string, unknown>): void => {
    if (map.size > maxEntries) map.delete(map.keys().next().value!);
  };

  return {
    served(credential, atMs) {
      if (firstServedMs.has(credential)) return;
      firstServedMs.set(credential, atMs);
      bound(firstServedMs);
    },
    isEstablished: (credential, atMs) => atMs - (firstServedMs.get(credential) ?? Infinity) >= hourMs,
    newcomersOf(address, credential, atMs) {
      const hour = Math.floor(atMs / hourMs);
      let known = newcomers.get(address);
      if (known?.hour !== hour) {
        newcomers.delete(address);
        newcomers.set(address, (known = { hour, credentials: new Set() }));
        bound(newcomers);
      }
      // Counting on says nothing more.
      if (known.credentials.size < 100) known.credentials.add(credential);
      return known.credentials.size;
    },
  };
}
