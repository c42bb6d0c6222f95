import { existsSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { resolvePath, type LoadedConfig } from '@tripline/runtime';
import { isEmbedded } from '../backends.ts';
import { checkDataFiles } from '../data-files.ts';
import type { Finding, Subject } from './finding.ts';

/** Has the disk room, and are the files of the embedded backends whole? */
export async function* checkDataDirectory({ loaded }: Subject): AsyncGenerator<Finding> {
  if (!isEmbedded(loaded.config)) return;
  yield await checkDisk(loaded);
  yield await readDataFiles(loaded);
}

const gigabyte = 2 ** 30;

async function checkDisk(loaded: LoadedConfig): Promise<Finding> {
  const dataDir = resolvePath(loaded, loaded.config.dataDir);
  const { bavail, bsize, blocks } = await statfs(existsSync(dataDir) ? dataDir : loaded.baseDir);
  const free = bavail * bsize;
  const what = `disk: ${(free / gigabyte).toFixed(1)} GB free for ${dataDir}`;
  if (free < gigabyte) {
    return {
      level: 'fail',
      what,
      advice: 'When it is full, lines are dropped. Free some, or lower lake.retentionDays.',
    };
  }
  return free < blocks * bsize * 0.05 || free < loaded.config.bus.maxBytes
    ? { level: 'warn', what, advice: 'Little for the log of the bus (bus.maxBytes) and the lake.' }
    : { level: 'ok', what };
}

/** Can every page of the embedded bus and states be read? */
async function readDataFiles(loaded: LoadedConfig): Promise<Finding> {
  try {
    await checkDataFiles(resolvePath(loaded, loaded.config.dataDir), (text) =>
      process.stderr.write(`${text}\n`),
    );
    return { level: 'ok', what: 'data files: the bus and the states can be read through' };
  } catch (error) {
    const [what, ...advice] = (error as Error).message.split('\n');
    return { level: 'fail', what: `data files: ${what}`, advice: advice.join('\n      ') };
  }
}
