import { createWriteStream, writeFileSync, type WriteStream } from 'node:fs';
import { once } from 'node:events';
import { parseArgs } from 'node:util';
import { createSanitizer } from '@tripline/sanitize';
import { createToApiCall } from './api-call.ts';
import { toLine } from './log-line.ts';
import { createTraffic } from './traffic.ts';

const usage = `npm run traffic -- [--lines FILE] [--calls FILE] [--labels FILE] [--days N] [--consumers N] [--seed N]

  --lines FILE    log lines of Kong, in the order in which they arrive
  --calls FILE    the API calls that become of them, with places
  --labels FILE   what was planted, one JSON object per line
  --days N        at least 10, default 10; --consumers N, default 50; --seed N, default 1
`;

function refuse(problem: string): never {
  process.stderr.write(`${problem}\n\n${usage}`);
  process.exit(2);
}

function readOptions() {
  try {
    const text = { type: 'string' } as const;
    return parseArgs({
      options: { lines: text, calls: text, labels: text, days: text, consumers: text, seed: text },
    }).values;
  } catch (error) {
    return refuse((error as Error).message);
  }
}

const values = readOptions();
const whole = (name: 'days' | 'consumers' | 'seed', otherwise: number, least: number): number => {
  const number = Number(values[name] ?? otherwise);
  if (Number.isInteger(number) && number >= least) return number;
  return refuse(`--${name} is "${values[name]}"; allowed: a whole number of at least ${least}.`);
};
const options = {
  seed: whole('seed', 1, 1),
  days: whole('days', 10, 10),
  consumers: whole('consumers', 50, 10),
};
if (values.lines === undefined && values.calls === undefined && values.labels === undefined)
  refuse('Nothing to write: give --lines, --calls or --labels.');

const { stage, locate } = createTraffic(options);
const toApiCall = createToApiCall(createSanitizer({ key: Buffer.alloc(32, 'traffic') }), locate);
const open = (path: string | undefined): WriteStream | undefined =>
  path === undefined ? undefined : createWriteStream(path);
const write = async (file: WriteStream | undefined, lines: () => string[]): Promise<void> => {
  if (file && !file.write(`${lines().join('\n')}\n`)) await once(file, 'drain');
};
const [lines, calls] = [open(values.lines), open(values.calls)];
let count = 0;
let hours = 0;
for (const { requests } of stage.blocks()) {
  await write(lines, () => requests.map(toLine));
  await write(calls, () => requests.map((one) => JSON.stringify(toApiCall(one))));
  count += requests.length;
  if (++hours % 24 === 0) process.stderr.write(`day ${hours / 24} of ${options.days}, ${count} lines\n`);
}
for (const file of [lines, calls]) if (file) await new Promise((resolve) => file.end(resolve));
if (values.labels !== undefined) {
  const labels = stage.labels.map((label) =>
    JSON.stringify(label, (name, value: unknown) =>
      // When each request began is in the lines themselves.
      name === 'times' ? undefined : value instanceof Set ? [...(value as Set<string>)] : value,
    ),
  );
  writeFileSync(values.labels, `${labels.join('\n')}\n`);
}
