export const targetKinds = ['consumer', 'credential', 'address', 'route'] as const;
export type TargetKind = (typeof targetKinds)[number];

/** What a response acts on. */
export interface Target {
  kind: TargetKind;
  /** Id in Kong of a consumer, credential or route; an IPv4 address, or the /64 of IPv6 addresses. Never empty. */
  id: string;
  /** Name for people. Left out where it would repeat the id. */
  name?: string;
}

/** A target in words: `acme` for the consumer of that name, `address 203.0.113.9` for anything but a consumer. */
export function describeTarget({ kind, id, name = id }: Target): string {
  return kind === 'consumer' ? name : `${kind} ${name}`;
}

/** Identifies a target among the targets of all kinds. Of a consumer it is the id, so that ids made of it last. */
export function targetKey({ kind, id }: Target): string {
  return kind === 'consumer' ? id : `${kind}:${id}`;
}
