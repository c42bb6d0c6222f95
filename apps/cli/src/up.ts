import { networkInterfaces } from 'node:os';
import { createLogger, onSignals, resolvePath, type LoadedConfig } from '@tripline/runtime';
import { readOptions } from './options.ts';
import { startSystem, type Roles, type System } from './system.ts';

const say = (text: string): boolean => process.stderr.write(`${text}\n`);

/** `tripline up`: runs until it is told to stop. */
export async function up(args: string[]): Promise<number> {
  const { loaded } = readOptions(args, {});
  const logger = createLogger({ level: loaded.config.logLevel, pretty: process.stderr.isTTY });
  const system = await startSystem({ loaded, logger });
  introduce(system, loaded);
  tellFirstLine(system);
  return runUntilStopped(system);
}

/** Until a signal comes or a role fails; then stops in good order. The exit status. */
export async function runUntilStopped(system: Roles): Promise<number> {
  const signal = new Promise<string>((resolve) => onSignals(resolve));
  try {
    const why = await Promise.race([signal, system.ended.then(() => 'a role ended')]);
    say(`Stopping (${why}).`);
    return 0;
  } catch (error) {
    say(`A role failed: ${(error as Error).stack ?? String(error)}`);
    return 1;
  } finally {
    await system.stop();
  }
}

function introduce(system: System, loaded: LoadedConfig): void {
  const { config, collector } = system;
  const { host } = config.collector;
  const reachable = host === '0.0.0.0' || host === '::' ? ownAddress() : host;
  const tls = collector.tlsPort === undefined ? '' : `, TLS on ${host}:${collector.tlsPort}`;
  const policies = resolvePath(loaded, config.policiesFile);
  const count = system.policies.current().policies.length;
  const mistakes = system.policies.problems().length > 0;
  const inEffect = mistakes
    ? 'it has mistakes, see above; none is in effect'
    : count === 0
      ? 'none, so alerts lead to no responses'
      : String(count);
  say(`
Tripline is running.
  log lines   TCP on ${host}:${collector.port}${tls}
  health      http://${config.http.host}:${system.httpPort}/healthz, /readyz and /metrics
  data        ${system.dataDir}
  policies    ${policies}: ${inEffect}
  Kong        ${config.kong.adminUrl ?? 'no Admin API configured (kong.adminUrl): alerts only, nothing is blocked'}

In Kong, enable the tcp-log plugin for all services:
  curl -X POST http://localhost:8001/plugins -d name=tcp-log \\
       -d config.host=${reachable} -d config.port=${collector.port}
or let Tripline do it:  npx tripline kong connect --host ${reachable} --apply

Waiting for the first log line. Ctrl-C stops.`);
}

function tellFirstLine(system: System): void {
  const began = Date.now();
  let reminded = false;
  const timer = setInterval(() => {
    const { received, published, rejected } = system.collector.accounting();
    const refused = [...rejected.values()].reduce((sum, count) => sum + count, 0);
    if (published > 0) {
      const from = system.collector.observations().senders[0]?.address ?? 'somewhere';
      say(`The first log line has come, from ${from}. Learning what is normal.`);
      clearInterval(timer);
    } else if (refused > 10 && refused === received) {
      say('Lines come, but none was accepted so far: npx tripline doctor says why.');
      clearInterval(timer);
    } else if (!reminded && Date.now() - began > 60_000) {
      reminded = true;
      say('Still no log line. Can Kong reach this address and port? npx tripline doctor checks it.');
    }
  }, 200);
  timer.unref();
}

/** An address of this machine that another one may reach; Kong may need another. */
function ownAddress(): string {
  for (const addresses of Object.values(networkInterfaces())) {
    for (const address of addresses ?? []) {
      if (!address.internal && address.family === 'IPv4') return address.address;
    }
  }
  return '127.0.0.1';
}
