import { existsSync } from 'node:fs';
import { inheritedSockets, startCollector } from '@tripline/app-collector';
import { createEmbeddedBus } from '@tripline/bus';
import { createNormaliser } from '@tripline/kong';
import { configSchema, createLogger, createMetrics, onSignals } from '@tripline/runtime';
import { createSanitizer } from '@tripline/sanitize';
import { createOutage } from './outage.ts';

// A collector as a process of its own, to be killed: `node collector-child.js <directory>`. Its bus is away while there is a
// file `outage` in the directory. Prints one JSON line with its process id and ports when it listens.
const [directory = '.'] = process.argv.slice(2);
const outage = createOutage(createEmbeddedBus({ path: `${directory}/bus` }));
const look = (): void => {
  outage.mode = existsSync(`${directory}/outage`) ? 'refuse' : 'works';
};
look();
setInterval(look, 10).unref();

const sanitizer = createSanitizer({ key: Buffer.alloc(32, 1) });
const { collector: settings } = configSchema.parse({
  collector: { host: '127.0.0.1', port: 0, http: { port: 0 } },
});
const collector = await startCollector({
  logger: createLogger({ level: 'error', pretty: false }),
  metrics: createMetrics(),
  now: Date.now,
  bus: outage.bus,
  sanitizer,
  normalise: createNormaliser({ sanitizer }),
  settings,
  spoolDir: `${directory}/spool`,
  sockets: inheritedSockets(process.env, process.pid),
});
onSignals(() => {
  void collector
    .stop()
    .then(() => outage.bus.close())
    .then(() => process.exit(0));
});
const { port, httpPort } = collector;
process.stdout.write(`${JSON.stringify({ pid: process.pid, port, httpPort })}\n`);
