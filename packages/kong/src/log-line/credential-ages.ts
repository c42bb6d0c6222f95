const hourMs = 3_600_000;
const dayMs = 24 * hourMs;
/** Of one address; counting on would say nothing more. */
const newcomersKept = 32;

/**
 * Remembers since when credentials have been in use that Kong did not verify, so that one which is invented anew for each
 * request never becomes an actor. Times are ms of event time.
 */
export interface CredentialAges {
  /** Notes that a call with the credential (a token) was served. */
  served: (credential: string, atMs: number) => void;
  /** Whether a call with it was served an hour ago already. */
  isEstablished: (credential: string, atMs: number) => boolean;
  /** How many credentials that were not established this address has brought on this day, `credential` included. */
  newcomersOf: (address: string, credential: string, atMs: number) => number;
}

const credentialsMost = 100_000;
const addressesMost = 10_000;

/** At most 100,000 credentials and 10,000 addresses are kept; beyond, those that came first are forgotten and begin anew. */
export function createCredentialAges(): CredentialAges {
  const firstServedMs = new Map<string, number>();
  const newcomers = new Map<string, { day: number; credentials: string[] }>();

  const bound = (map: Map<string, unknown>, most: number): void => {
    if (map.size > most) map.delete(map.keys().next().value!);
  };

  return {
    served(credential, atMs) {
      if (firstServedMs.has(credential)) return;
      firstServedMs.set(credential, atMs);
      bound(firstServedMs, credentialsMost);
    },
    isEstablished: (credential, atMs) => atMs - (firstServedMs.get(credential) ?? Infinity) >= hourMs,
    newcomersOf(address, credential, atMs) {
      const day = Math.floor(atMs / dayMs);
      let known = newcomers.get(address);
      if (known?.day !== day) {
        newcomers.delete(address);
        newcomers.set(address, (known = { day, credentials: [] }));
        bound(newcomers, addressesMost);
      }
      const { credentials } = known;
      const at = credentials.indexOf(credential);
      if (at >= 0) return at + 1;
      if (credentials.length < newcomersKept) credentials.push(credential);
      return credentials.length;
    },
  };
}
