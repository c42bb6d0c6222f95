import kafkajs, { type PartitionAssigner } from 'kafkajs';

/**
 * Who reads which partition: everybody keeps as much of what it owns as an even share allows, so that what it remembers of
 * a partition stays of use. Shares differ by at most one. Same input, same result.
 */
export function shareOut(
  members: readonly { id: string; owned: readonly number[] }[],
  partitions: number,
): Map<string, number[]> {
  const claimed = new Set<number>();
  const claims = members
    .map(({ id, owned }) => {
      const kept = owned.filter((one) => {
        const valid = Number.isInteger(one) && one >= 0 && one < partitions && !claimed.has(one);
        claimed.add(one);
        return valid;
      });
      return { id, kept };
    })
    // Who owns most gets the larger shares.
    .sort((a, b) => b.kept.length - a.kept.length || (a.id < b.id ? -1 : 1));
  const share = Math.floor(partitions / claims.length);
  const larger = partitions % claims.length;
  const shares = claims.map(({ id, kept }, rank) => {
    const size = rank < larger ? share + 1 : share;
    return { id, size, kept: kept.slice(0, size) };
  });
  const taken = new Set(shares.flatMap(({ kept }) => kept));
  const free = Array.from({ length: partitions }, (_, number) => number).filter((one) => !taken.has(one));
  return new Map(
    shares.map(({ id, size, kept }) => [
      id,
      [...kept, ...free.splice(0, size - kept.length)].sort((a, b) => a - b),
    ]),
  );
}

/**
 * `shareOut` as kafkajs takes it. `claim` is asked at every attempt to join the group: what this member owns, and the
 * member id under which it got that. Who comes with another id was thrown out meanwhile: its claim counts nothing, for
 * somebody else may have read those partitions since.
 */
export function stickyAssigner(options: {
  topic: string;
  partitions: number;
  claim: () => { memberId: string | null; owned: number[] };
}): PartitionAssigner {
  const { MemberMetadata, MemberAssignment } = kafkajs.AssignerProtocol;
  return () => ({
    name: 'tripline-sticky',
    version: 1,
    protocol: ({ topics }) => ({
      name: 'tripline-sticky',
      metadata: MemberMetadata.encode({
        version: 1,
        topics,
        userData: Buffer.from(JSON.stringify(options.claim())),
      }),
    }),
    assign: ({ members }) => {
      const claims = members.map(({ memberId, memberMetadata }) => ({
        id: memberId,
        owned: ownedBy(memberId, MemberMetadata.decode(memberMetadata)?.userData),
      }));
      return Promise.resolve(
        [...shareOut(claims, options.partitions)].map(([memberId, partitions]) => ({
          memberId,
          memberAssignment: MemberAssignment.encode({
            version: 1,
            assignment: { [options.topic]: partitions },
            userData: Buffer.alloc(0),
          }),
        })),
      );
    },
  });
}

function ownedBy(memberId: string, userData: Buffer | undefined): number[] {
  try {
    const claim = JSON.parse(userData?.toString() ?? '') as { memberId?: unknown; owned?: unknown };
    return claim.memberId === memberId && Array.isArray(claim.owned) ? (claim.owned as number[]) : [];
  } catch {
    return [];
  }
}
