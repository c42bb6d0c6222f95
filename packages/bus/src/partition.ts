/**
 * Partition of a key: 32-bit FNV-1a over its UTF-16 units (http://www.isthe.com/chongo/tech/comp/fnv/), modulo the number
 * of partitions. Every bus uses this one, so that an actor's calls meet on one partition whoever published them.
 */
export function partitionOf(key: string, partitions: number): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) hash = Math.imul(hash ^ key.charCodeAt(i), 0x01000193);
  return (hash >>> 0) % partitions;
}
