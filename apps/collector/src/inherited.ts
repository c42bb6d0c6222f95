import { UserError } from '@tripline/runtime';

/** Listening sockets that the service manager holds open, so that the kernel keeps connections while the collector restarts. */
export interface InheritedSockets {
  lines?: number;
  'lines-tls'?: number;
  http?: number;
}

const firstDescriptor = 3;
const names = ['lines', 'lines-tls', 'http'] as const;

/**
 * The descriptors that systemd's socket activation hands over (`LISTEN_FDS`, `LISTEN_FDNAMES`); none if they are for another
 * process (`LISTEN_PID`). A single descriptor without a name is `lines`. Throws a `UserError` for an unknown name.
 */
export function inheritedSockets(env: Record<string, string | undefined>, pid: number): InheritedSockets {
  const count = Number(env.LISTEN_FDS ?? 0);
  if (count === 0 || env.LISTEN_PID !== String(pid)) return {};
  const given = env.LISTEN_FDNAMES?.split(':') ?? (count === 1 ? ['lines'] : []);
  const sockets: InheritedSockets = {};
  for (let index = 0; index < count; index++) {
    const name = names.find((one) => one === given[index]);
    if (name === undefined || sockets[name] !== undefined) {
      throw new UserError(
        `Socket ${index + 1} of ${count} that was handed over (LISTEN_FDS) is called "${given[index] ?? ''}"; ` +
          `allowed, once each: ${names.join(', ')}. Set FileDescriptorName in its systemd unit.`,
      );
    }
    sockets[name] = firstDescriptor + index;
  }
  return sockets;
}
