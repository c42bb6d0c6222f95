import type { ApiCall } from '@tripline/model';

/** Who acts: the fields of a call that say whose behaviour it is. */
export type Identity = Pick<ApiCall, 'actorKind' | 'actorId' | 'actorName' | 'verifiedBy'>;

export interface IdentityFacts {
  /** The consumer that Kong authenticated, and what to show for it; not the one that stands for the anonymous. */
  consumer: { id: string; name: string } | undefined;
  /** Sanitised id of what Kong authenticated without a consumer. */
  authenticatedEntity: string | undefined;
  /** Kong answered without asking an upstream, so that no service verified anything. */
  byKong: boolean;
  status: number;
  /** Token of the caller, where the operator declared which credential of the service it is. */
  declared: string | undefined;
  /** Token of the credential that the line shows. Evidence: anybody can invent one. */
  presented: string | undefined;
  /** IPv4 address, or the /64 of an IPv6 address; undefined if Kong had none. */
  source: string | undefined;
  /** The endpoint refuses whoever presents nothing. */
  endpointVerifies: () => boolean;
  /** Calls without a credential get through at this endpoint. */
  endpointIsPublic: () => boolean;
  /** A call with the credential was served an hour ago already. */
  isEstablished: (credential: string) => boolean;
  /** How many new credentials this source has brought within the hour, `credential` included. */
  newcomersOf: (credential: string) => number;
}

/** More new callers of a service from one address within an hour are one that invents them, or an office: the address acts. */
const newcomersMost = 20;

/**
 * Decides who acts, the most consequential decision per call. In this order: a consumer that Kong authenticated; what Kong
 * authenticated without a consumer; the caller by the credential that the operator declared for the service; a credential that
 * the endpoint was seen to verify; the address. A credential that nobody verified never makes an actor, as detection could
 * then be switched off by inventing another one for each request.
 */
export function identityOf(facts: IdentityFacts): Identity {
  const { consumer, authenticatedEntity } = facts;
  if (consumer) return { actorKind: 'consumer', actorId: consumer.id, actorName: consumer.name };
  if (authenticatedEntity !== undefined) return credential(authenticatedEntity, 'kong');
  const verified = verifiedByService(facts);
  if (verified) return verified;
  const address = facts.source ?? 'unknown';
  return { actorKind: 'address', actorId: address, actorName: address };
}

function verifiedByService(facts: IdentityFacts): Identity | undefined {
  const { byKong, status, declared, presented } = facts;
  // What was refused is a guess, and what Kong answered itself was verified by nobody.
  if (byKong || status === 401) return undefined;
  if (declared !== undefined) {
    const isTrusted = facts.isEstablished(declared) || facts.newcomersOf(declared) <= newcomersMost;
    return isTrusted && !facts.endpointIsPublic() ? credential(declared, 'declared') : undefined;
  }
  // Tokens that live for minutes are no identity, nor are those that are invented anew for each request.
  if (presented === undefined || !facts.isEstablished(presented)) return undefined;
  return facts.endpointVerifies() ? credential(presented, 'learnt') : undefined;
}

function credential(id: string, verifiedBy: NonNullable<ApiCall['verifiedBy']>): Identity {
  return { actorKind: 'credential', actorId: id, actorName: id, verifiedBy };
}
