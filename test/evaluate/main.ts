import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { inventedCredentials, type TrafficOptions } from '../traffic/stage.ts';
import { evaluationOf, type SeedResult } from './evaluate.ts';
import { details, detectorTable, page } from './report.ts';

const usage = `npm run evaluate -- [--days N] [--consumers N] [--seeds LIST] [--invent KIND] [--quick] [--json] [--write]

  --days N        simulated days, at least 10; default 28
  --consumers N   consumers of the crowd; default 2000
  --seeds LIST    such as 1001 (default), 1001-1020 or 3,5,8; 1 to 99 are for tuning, 1001 and above for reports
  --invent KIND   attackers without a consumer invent a credential for each request: header, bearer, basic, query,
                  cookie, or mixed: one of them for each attack
  --quick         10 days, 40 consumers, victims with two days of past: seconds instead of minutes
  --json          the figures as JSON on standard output
  --write         keep the report as docs/evaluation.md
`;

/** Prints the mistake and how it is right. */
function refuse(problem: string): never {
  process.stderr.write(`${problem}\n\n${usage}`);
  process.exit(2);
}

function readOptions(): Omit<TrafficOptions, 'seed'> & { seeds: number[]; json: boolean; write: boolean } {
  let values;
  try {
    ({ values } = parseArgs({
      options: {
        days: { type: 'string' },
        consumers: { type: 'string' },
        seeds: { type: 'string', default: '1001' },
        invent: { type: 'string' },
        quick: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        write: { type: 'boolean', default: false },
      },
    }));
  } catch (error) {
    return refuse((error as Error).message);
  }
  const whole = (name: string, text: string, least: number): number => {
    const number = Number(text);
    if (!Number.isInteger(number) || number < least)
      refuse(`--${name} is "${text}"; allowed: a whole number of at least ${least}.`);
    return number;
  };
  const seeds = values.seeds.split(',').flatMap((part) => {
    const [from = '', to = from] = part.split('-');
    const first = whole('seeds', from, 1);
    return Array.from({ length: whole('seeds', to, first) - first + 1 }, (_, index) => first + index);
  });
  const kinds = [...inventedCredentials, 'mixed'] as const;
  const invent = kinds.find((kind) => kind === values.invent);
  if (values.invent !== undefined && invent === undefined)
    refuse(`--invent is "${values.invent}"; allowed: ${kinds.join(', ')}.`);
  return {
    ...(invent ? { invent } : {}),
    seeds,
    days: whole('days', values.days ?? (values.quick ? '10' : '28'), 10),
    consumers: whole('consumers', values.consumers ?? (values.quick ? '40' : '2000'), 10),
    ...(values.quick ? { pastDays: 2 } : {}),
    json: values.json,
    write: values.write,
  };
}

const { json, write, seeds, ...options } = readOptions();
let toldAt = Date.now();

/** Simulates one seed in a thread of its own. Rejects if it fails. */
function inThread(seed: number): Promise<SeedResult> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL('./evaluate-seed.js', import.meta.url), {
      workerData: { ...options, seed },
    });
    worker.on('message', (message: string | SeedResult) => {
      if (typeof message !== 'string') return resolve(message);
      if (Date.now() - toldAt < 2_000) return;
      toldAt = Date.now();
      process.stderr.write(`${message}\n`);
    });
    worker.on('error', reject);
  });
}

const results: SeedResult[] = [];
const waiting = [...seeds.entries()];
await Promise.all(
  Array.from({ length: availableParallelism() }, async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const [index, seed] = next;
      results[index] = await inThread(seed);
    }
  }),
);
const evaluation = evaluationOf(options, results);
if (write) {
  mkdirSync('docs', { recursive: true });
  writeFileSync('docs/evaluation.md', page(evaluation));
  process.stderr.write('Written: docs/evaluation.md\n');
}
process.stdout.write(
  json ? `${JSON.stringify(evaluation)}\n` : `${detectorTable(evaluation)}\n\n${details(evaluation)}\n`,
);
