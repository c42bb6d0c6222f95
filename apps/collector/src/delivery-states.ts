/**
 * Where records go:
 * - `direct`: to the bus.
 * - `spooling`: to the spool, as the bus takes none. The oldest spooled records are tried on the bus, with a wait after
 *   each failure.
 * - `draining`: to the spool, behind older ones. The bus takes those.
 */
export type DeliveryState = 'direct' | 'spooling' | 'draining';

/**
 * - `bus-failed`: the bus refused records or is full, has not answered for 5 s, or holds up half of the memory; or the
 *   spool could not be read.
 * - `bus-accepted`: the bus has taken records.
 * - `spool-emptied`: nothing is in the spool or on its way there.
 */
export type DeliveryEvent = 'bus-failed' | 'bus-accepted' | 'spool-emptied';

/** The next state. README.md of the collector draws it. Without a spool the state is always `direct`. */
export const transitions: Record<DeliveryState, Record<DeliveryEvent, DeliveryState>> = {
  direct: { 'bus-failed': 'spooling', 'bus-accepted': 'direct', 'spool-emptied': 'direct' },
  spooling: { 'bus-failed': 'spooling', 'bus-accepted': 'draining', 'spool-emptied': 'direct' },
  draining: { 'bus-failed': 'spooling', 'bus-accepted': 'draining', 'spool-emptied': 'direct' },
};
