// What systemd does for a service with sockets: holds listening sockets and starts the service with them, again and again.
// `node socket-holder.mjs <program> <argument>…`; prints the ports as one JSON line.
import { spawnSync } from 'node:child_process';
import { createServer } from 'node:net';

const held = await Promise.all(
  ['lines', 'http'].map(
    (name) =>
      new Promise((resolve) => {
        const server = createServer();
        server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () =>
          resolve({ name, fd: server._handle.fd, port: server.address().port }),
        );
      }),
  ),
);
process.stdout.write(
  `${JSON.stringify({ ports: Object.fromEntries(held.map(({ name, port }) => [name, port])) })}\n`,
);

// The event loop never turns again, so that nobody accepts here.
for (;;) {
  spawnSync('/bin/sh', ['-c', 'LISTEN_PID=$$ exec "$0" "$@"', process.execPath, ...process.argv.slice(2)], {
    stdio: ['ignore', 'inherit', 'inherit', ...held.map(({ fd }) => fd)],
    env: {
      ...process.env,
      LISTEN_FDS: String(held.length),
      LISTEN_FDNAMES: held.map(({ name }) => name).join(':'),
    },
  });
}
