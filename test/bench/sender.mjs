// Sends log lines to a collector from a process of its own, so that its CPU time is not counted with the pipeline's.
// Arguments: port, file of lines, number of lines, lines per second (0: as fast as they are taken),
// number of the first id, number of consumers (0: those of the lines).
import { readFileSync } from 'node:fs';
import { createConnection } from 'node:net';

const [port, file, count, perSecond, firstId, actors = 0] = process.argv.slice(2);
const lines = readFileSync(file).toString('latin1').split('\n').slice(0, -1);
const total = Number(count);
const rate = Number(perSecond);
const socket = createConnection({ port: Number(port), host: '127.0.0.1' });
await new Promise((resolve) => socket.once('connect', resolve));

// Consumers by Zipf's law with slope -0.9, as clients of public APIs are distributed: the inverse of its cumulated share.
const reach = Number(actors) ** 0.1 - 1;
const consumer = () => {
  const n = Math.min(Number(actors) - 1, Math.floor((reach * Math.random() + 1) ** 10 - 1));
  return `"consumer":{"id":"00000000-0000-4000-8000-${n.toString(16).padStart(12, '0')}","username":"user-${n}"}`;
};

// Every line gets an id of its own, and the present time, or its duplicates would be dropped.
let sent = 0;
const next = () => {
  const id = (Number(firstId) + sent + 1).toString(16).padStart(32, '0');
  const line = lines[sent++ % lines.length];
  return (Number(actors) > 0 ? line.replace(/"consumer":\{[^}]*\}/, consumer()) : line)
    .replace(/"id":"[0-9a-f]{32}"/, `"id":"${id}"`)
    .replace(/"started_at":[0-9]+/, `"started_at":${Date.now()}`);
};
const write = async (text) => {
  if (!socket.write(text, 'latin1')) await new Promise((resolve) => socket.once('drain', resolve));
};
if (rate === 0) {
  while (sent < total) {
    const batch = [];
    while (batch.length < 200 && sent < total) batch.push(next());
    await write(`${batch.join('\n')}\n`);
  }
} else {
  const began = Date.now();
  while (sent < total) {
    const due = Math.min(total, Math.floor(((Date.now() - began) / 1000) * rate));
    const batch = [];
    while (sent < due) batch.push(next());
    if (batch.length > 0) await write(`${batch.join('\n')}\n`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
socket.end();
