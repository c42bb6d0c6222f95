import type * as http from 'node:http';
import { isIP } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';

export const portOf = (server: http.Server): number => (server.address() as AddressInfo).port;

export function listen(server: http.Server, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** Stops listening and breaks the connections, with `port` only those to it. */
export function stop(server: http.Server, sockets: Set<Socket>, port?: number): Promise<void> {
  if (!server.listening) return Promise.resolve();
  return new Promise((resolve) => {
    server.close(() => resolve());
    for (const socket of sockets) if (port === undefined || socket.localPort === port) socket.destroy();
  });
}

/** Calls `done` with the whole body; never for a client that goes away before its end. */
export function readBody(request: http.IncomingMessage, done: (body: string) => void): void {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('error', () => undefined);
  request.on('end', () => done(Buffer.concat(chunks).toString('utf8')));
}

export function headersOf(request: http.IncomingMessage): Record<string, string | string[]> {
  const headers: Record<string, string | string[]> = {};
  for (const [name, values] of Object.entries(request.headersDistinct)) {
    if (values) headers[name] = values.length === 1 ? values[0]! : values;
  }
  return headers;
}

/** As Kong with `trusted_ips=0.0.0.0/0,::/0`: the last entry of X-Forwarded-For if it is an address, else the peer. */
export function clientIp(request: http.IncomingMessage): string {
  const entries = [request.headers['x-forwarded-for']].flat().join(',').split(',');
  const last = (entries.at(-1) ?? '').trim().replace(/^\[(.*)\](?::\d+)?$/, '$1');
  const address = /^\d+\.\d+\.\d+\.\d+:\d+$/.test(last) ? last.replace(/:\d+$/, '') : last;
  return isIP(address) > 0 ? address.toLowerCase() : (request.socket.remoteAddress ?? '127.0.0.1');
}
