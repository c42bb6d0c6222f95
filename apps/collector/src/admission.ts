import { BlockList, isIPv6, type Socket } from 'node:net';
import { Counter, Gauge, UserError, type Config, type RoleContext } from '@tripline/runtime';

/**
 * The connections of all ports of a collector together. Each is checked and counted when it is accepted, before anything
 * that it sends is read, so that a stranger who opens many, on whatever port, holds no more than the limits allow.
 */
export class Admission {
  readonly #allowed: BlockList | undefined;
  readonly #limits: Pick<Config['collector'], 'maxConnections' | 'maxConnectionsPerAddress'>;
  readonly #refused: Counter<'reason'>;
  /** Every open connection, with its address. */
  readonly #open = new Map<Socket, string>();
  readonly #perAddress = new Map<string, number>();
  #closing = false;

  /** Throws a `UserError` if `settings.allow` has something that is neither an address nor a network. */
  constructor(settings: Config['collector'], { metrics }: Pick<RoleContext, 'metrics'>) {
    this.#allowed = allowList(settings.allow);
    this.#limits = settings;
    this.#refused = new Counter({
      name: 'tripline_collector_connections_refused_total',
      help: 'Connections that were closed at once, by reason.',
      labelNames: ['reason'],
      registers: [metrics],
    });
    const open = this.#open;
    new Gauge({
      name: 'tripline_collector_connections',
      help: 'Open connections.',
      registers: [metrics],
      collect() {
        this.set(open.size);
      },
    });
  }

  get count(): number {
    return this.#open.size;
  }

  /** From now on every new connection is refused. */
  close(): void {
    this.#closing = true;
  }

  /** Closes every connection at once. */
  destroy(): void {
    for (const socket of this.#open.keys()) socket.destroy();
  }

  /** Counts a connection that was just accepted; false if it is refused, and then it is closed. */
  admit(socket: Socket): boolean {
    // Kong opens a broken connection again; there is nobody to answer.
    socket.on('error', () => undefined);
    const address = addressOf(socket);
    const fromHere = this.#perAddress.get(address) ?? 0;
    const reason = this.#reasonAgainst(address, fromHere);
    if (reason !== undefined) {
      this.refuse(socket, reason);
      return false;
    }
    this.#perAddress.set(address, fromHere + 1);
    this.#open.set(socket, address);
    socket.on('close', () => {
      this.#open.delete(socket);
      const left = (this.#perAddress.get(address) ?? 1) - 1;
      if (left > 0) this.#perAddress.set(address, left);
      else this.#perAddress.delete(address);
    });
    return true;
  }

  /** Closes a connection at once and counts why. */
  refuse(socket: Socket, reason: string): void {
    this.#refused.inc({ reason });
    socket.destroy();
  }

  #reasonAgainst(address: string, fromHere: number): string | undefined {
    if (this.#allowed && !this.#allowed.check(address, isIPv6(address) ? 'ipv6' : 'ipv4')) return 'address';
    if (this.#closing) return 'stopping';
    if (this.#open.size >= this.#limits.maxConnections) return 'too-many';
    return fromHere >= this.#limits.maxConnectionsPerAddress ? 'too-many-from-address' : undefined;
  }
}

/** The client's address, IPv4 addresses in IPv6 form as IPv4. Empty for a connection that has ended. */
export function addressOf(socket: Socket): string {
  return socket.remoteAddress?.replace(/^::ffff:/, '') ?? '';
}

function allowList(networks: readonly string[]): BlockList | undefined {
  if (networks.length === 0) return undefined;
  const list = new BlockList();
  for (const network of networks) {
    const [address = '', prefix] = network.split('/');
    const family = isIPv6(address) ? 'ipv6' : 'ipv4';
    try {
      if (prefix === undefined) list.addAddress(address, family);
      else list.addSubnet(address, Number(prefix), family);
    } catch {
      throw new UserError(
        `collector.allow: "${network}" is neither an address nor a network; allowed: 10.1.2.3, 10.0.0.0/8, 2001:db8::/32.`,
      );
    }
  }
  return list;
}
