import { parentPort, workerData } from 'node:worker_threads';
import type { TrafficOptions } from '../traffic/stage.ts';
import { evaluateSeed } from './evaluate.ts';

/** A thread of `main.ts`: `workerData` are the options of one seed; it posts texts of progress, then the result. */
const result = await evaluateSeed(workerData as TrafficOptions, (text) => parentPort!.postMessage(text));
parentPort!.postMessage(result);
