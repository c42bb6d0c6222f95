#!/usr/bin/env node
import { UserError } from '@tripline/runtime';

const help = `Usage: tripline <command>

  up                          run everything in this process, on embedded engines (npm start)
  demo [--once]               the same with a Kong stand-in, ordinary traffic and an attack (npm run demo)
  collector | processor | archiver | responder
                              one role in this process, the others elsewhere: on Kafka, Redis and ClickHouse
  replay FILE|-               recorded log lines through the pipeline; alerts as JSON lines on standard output
         [--alerts FILE]      write the alerts there instead
         [--policies FILE]    say which responses these policies would have made
  kong connect [--apply]      show (or make) the tcp-log plugin in Kong that logs to this collector
         --host HOST          how Kong reaches the collector [--port PORT]
         --tls                send with TLS [--sni NAME: ask for this name] [--verify: Kong 3.13 verifies the certificate]
  doctor                      check Kong, the plugin, lines, addresses, clock, disk and policies
  series FILE.csv|-           a plain series (columns timestamp,value) row by row: expected, range, score, alert
  parameters FILE.ndjson|-    learn parameter values of calls, and judge those of lines with "score": true
  policies check FILE         problems of a policy file with line, path and what is allowed
  policies test FILE [--since 24h]   which alerts of the lake it would have acted on, and how
  responses list              what is in force in Kong
  responses lift ID           take a response off
  bus cat TOPIC               records of a topic as JSON lines: api-calls, aggregates, alerts, responses, dead-letters
         [--from oldest|newest] [--limit N] [--follow: wait for further ones]

All commands take --config FILE (default: ./tripline.json if it is there).
Exit status: 0 done, 1 not done or problems found, 2 wrong use or configuration.
`;

type Command = (args: string[]) => Promise<number>;

// Loaded only when it is called: `policies check` has no use for the engines.
const commands: Record<string, () => Promise<Command>> = {
  up: async () => (await import('./up.ts')).up,
  collector: async () => (await import('./role.ts')).role('collector'),
  processor: async () => (await import('./role.ts')).role('processor'),
  archiver: async () => (await import('./role.ts')).role('archiver'),
  responder: async () => (await import('./role.ts')).role('responder'),
  demo: async () => (await import('./demo.ts')).demo,
  replay: async () => (await import('./replay.ts')).replay,
  kong: async () => (await import('./kong-connect.ts')).kong,
  doctor: async () => (await import('./doctor/doctor.ts')).doctor,
  series: async () => (await import('./series.ts')).series,
  parameters: async () => (await import('./parameters.ts')).parameters,
  policies: async () => (await import('./policies.ts')).policies,
  responses: async () => (await import('./responses.ts')).responses,
  bus: async () => (await import('./bus.ts')).bus,
};

async function main(args: string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined || name === 'help' || args.includes('--help') || args.includes('-h')) {
    process.stdout.write(help);
    return name === undefined ? 2 : 0;
  }
  const load = commands[name];
  if (!load) {
    throw new UserError(
      `There is no command "${name}"; there are ${Object.keys(commands).join(', ')}. See tripline help.`,
    );
  }
  return (await load())(rest);
}

// Whoever reads the output has had enough, as `| head` has: that is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  process.stderr.write(`Standard output cannot be written: ${error.message}\n`);
  process.exit(1);
});
// Output is lost when nobody reads it or its disk is full; the work goes on.
process.stderr.on('error', () => undefined);

/** Whatever connection or timer a client left behind, a command that is done ends; what it printed has gone by then. */
const lingerMs = 2_000;
function end(status: number): void {
  process.exitCode = status;
  setTimeout(() => process.exit(), lingerMs).unref();
}

main(process.argv.slice(2)).then(end, (error: unknown) => {
  const expected =
    error instanceof UserError || (error as { code?: string }).code?.startsWith('ERR_PARSE_ARGS');
  process.stderr.write(`${expected ? (error as Error).message : String((error as Error).stack ?? error)}\n`);
  end(expected ? 2 : 1);
});
