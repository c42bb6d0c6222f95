import type { ApiCall } from '@tripline/model';

/** Who acts: the fields of a call that say whose behaviour it is. */
export type Identity = Pick<ApiCall, 'actorKind' | 'actorId' | 'actorName' | 'verifiedBy'>;

export interface IdentityFacts {
  /** The consumer that Kong authenticated, and what to show for it; not the one that stands for the anonymous. */
  consumer: { id: string; name: string } | undefined;
  /** Sanitised id of what Kong authenticated without a consumer. */
  authenticatedEntity: string | undefined;
  /** IPv4 address, or the /64 of an IPv6 address; undefined if Kong had none. */
  source: string | undefined;
  /** What the service itself may have verified; left out if it answered 401, or was not asked. */
  service?: ServiceEvidence | undefined;
}

export interface ServiceEvidence {
  /** Token of the caller, where the operator declared which credential of the service it is. */
  declared: string | undefined;
  /** Token of the credential that the line shows. Evidence: anybody can invent one. */
  presented: string | undefined;
  /** Calls without a credential get through at this endpoint. */
  isPublic: () => boolean;
  /** The endpoint refuses calls that present nothing. */
  verifies: () => boolean;
  /** A call with the credential was served an hour ago already. */
  isEstablished: (credential: string) => boolean;
  /** How many credentials that are not established this source has brought on this day, `credential` included. */
  newcomersOf: (credential: string) => number;
}

/** More new callers from one address on a day are one who invents them, or an office: the address acts for the others. */
const newcomersMost = 20;

/**
 * Decides who acts, the most consequential decision per call. In this order: a consumer that Kong authenticated; what Kong
 * authenticated without a consumer; the caller by the credential that the operator declared for the service; a credential that
 * the endpoint was seen to verify; the address. A credential that nobody verified never makes an actor, as detection could
 * then be switched off by inventing another one for each request.
 */
export function identityOf({ consumer, authenticatedEntity, source, service }: IdentityFacts): Identity {
  if (consumer) return { actorKind: 'consumer', actorId: consumer.id, actorName: consumer.name };
  if (authenticatedEntity !== undefined) return credential(authenticatedEntity, 'kong');
  const verified = service && verifiedByService(service);
  if (verified) return verified;
  const address = source ?? 'unknown';
  return { actorKind: 'address', actorId: address, actorName: address };
}

function verifiedByService(service: ServiceEvidence): Identity | undefined {
  const { declared, presented } = service;
  if (declared !== undefined) {
    const isTrusted = service.isEstablished(declared) || service.newcomersOf(declared) <= newcomersMost;
    return isTrusted && !service.isPublic() ? credential(declared, 'declared') : undefined;
  }
  // Tokens that live for minutes are no identity, nor are those that are invented anew for each request.
  if (presented === undefined || !service.isEstablished(presented)) return undefined;
  return service.verifies() ? credential(presented, 'learnt') : undefined;
}

function credential(id: string, verifiedBy: NonNullable<ApiCall['verifiedBy']>): Identity {
  return { actorKind: 'credential', actorId: id, actorName: id, verifiedBy };
}
