import { CALL_WEIGHT } from '../../baseline/limits.ts';
import type { Callers } from './crowd-callers.ts';

/**
 * Calls of one actor that count per minute: a crowd is what nobody makes alone, nor a handful, and the bursts of single actors are
 * what makes an endpoint's minutes vary most.
 */
export const CALLS_PER_ACTOR = 5;
/**
 * The calls from elsewhere must have at most this share of what they usually have: where everybody comes at once, in the morning or
 * as tokens run out, the networks keep their shares.
 */
const OTHERS_SHARE = 0.5;
/** Networks of which the usual share is known; those with the fewest calls make room. */
const NETWORKS_KEPT = 16;
/** Half-life of what is known of them about five days: each hour leaves this much. */
const NETWORKS_PER_HOUR = 1 - 1 / 168;
/** Stands for all networks that the databases do not know. */
const UNKNOWN_NETWORK = 0;

/** Calls in calm minutes by network (ASN), in 64ths of a call, fading. At most NETWORKS_KEPT. */
export type UsualNetworks = Map<number, number>;

/** The network that a crowd gathers in, with its share of the calls, now and usually. */
export interface CrowdNetwork {
  asn: number;
  share: number;
  usualShare: number;
}

export function fadeNetworks(networks: UsualNetworks, hours: number): void {
  if (hours === 0) return;
  for (const [asn, calls] of networks) {
    const left = Math.floor(calls * NETWORKS_PER_HOUR ** hours);
    if (left > 0) networks.set(asn, left);
    else networks.delete(asn);
  }
}

export function learnNetworks(networks: UsualNetworks, callers: Callers): void {
  for (const [, { value }] of callers.entries()) {
    const asn = value.asn ?? UNKNOWN_NETWORK;
    networks.set(asn, (networks.get(asn) ?? 0) + Math.min(CALLS_PER_ACTOR, value.calls) * CALL_WEIGHT);
  }
  while (networks.size > NETWORKS_KEPT) networks.delete(smallestOf(networks));
}

/** The network with the fewest calls; of equal ones the one with the lowest number, so that it does not depend on their order. */
function smallestOf(networks: UsualNetworks): number {
  let smallest = UNKNOWN_NETWORK;
  let fewest = Infinity;
  for (const [asn, calls] of networks) {
    if (calls > fewest || (calls === fewest && asn > smallest)) continue;
    smallest = asn;
    fewest = calls;
  }
  return smallest;
}

/**
 * The network whose share of the calls has grown most, if that leaves the others far less than their usual share, by more than
 * the sample's standard error.
 */
export function gatheredIn(callers: Callers, networks: Readonly<UsualNetworks>): CrowdNetwork | undefined {
  const now = new Map<number, number>();
  let sum = 0;
  for (const [, { value }] of callers.entries()) {
    sum += value.calls;
    if (value.asn !== null) now.set(value.asn, (now.get(value.asn) ?? 0) + value.calls);
  }
  let usualSum = 0;
  for (const calls of networks.values()) usualSum += calls;
  let found: CrowdNetwork | undefined;
  for (const [asn, calls] of now) {
    const share = calls / sum;
    const usualShare = (networks.get(asn) ?? 0) / Math.max(1, usualSum);
    const grown = share - usualShare - (found ? found.share - found.usualShare : 0);
    if (grown > 0 || (grown === 0 && found && asn < found.asn)) found = { asn, share, usualShare };
  }
  if (!found) return undefined;
  const error = Math.sqrt((found.share * (1 - found.share)) / callers.size);
  return 1 - found.share + error <= OTHERS_SHARE * (1 - found.usualShare) ? found : undefined;
}
