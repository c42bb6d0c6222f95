import { createReadStream, statSync } from 'node:fs';
import { bytesOf, FrameSplitter } from '@tripline/kong';
import { UserError } from '@tripline/runtime';
import { shareOf, showProgress } from './progress.ts';

/** Longest line of a file that a command reads. */
const maxLineBytes = 1_000_000;
/** Problems that are told one by one; the rest is only counted. */
const problemsShown = 10;

/** One line without its end; null for one that is longer than 1 MB. */
export interface Line {
  number: number;
  text: string | null;
}

/**
 * The lines of a file, or of standard input for `-`, in memory of one chunk and one line. Numbered from 1 as editors
 * do; blank lines are left out, and so is the byte order mark that some programs begin a file with. Throws `UserError` if the file cannot be read.
 */
export async function* linesOf(file: string): AsyncGenerator<Line[]> {
  const input = openInput(file);
  const splitter = new FrameSplitter(maxLineBytes);
  let number = 1;
  let lines: Line[] = [];
  const take: Parameters<FrameSplitter['push']>[1] = (frame) => {
    const text = frame.kind === 'line' ? bytesOf(frame).toString('utf8') : null;
    lines.push({ number, text: number === 1 && text !== null ? text.replace(/^\ufeff/, '') : text });
  };
  let read = 0;
  // Rows that scroll by are progress enough.
  const stopProgress = process.stdout.isTTY
    ? () => undefined
    : showProgress(() => `${number} lines${shareOf(file, read)}`);
  try {
    for await (const chunk of input) {
      const bytes = chunk as Buffer;
      read += bytes.length;
      for (let begin = 0; begin < bytes.length;) {
        const lineFeedAt = bytes.indexOf(10, begin);
        const end = lineFeedAt < 0 ? bytes.length : lineFeedAt + 1;
        splitter.push(bytes.subarray(begin, end), take);
        if (lineFeedAt >= 0) number++;
        begin = end;
      }
      yield lines;
      lines = [];
    }
  } finally {
    stopProgress();
  }
  splitter.end(take);
  yield lines;
}

/** A file, or standard input for `-`. Throws a `UserError` if it cannot be read. */
export function openInput(file: string): NodeJS.ReadableStream {
  if (file === '-') return process.stdin;
  try {
    if (statSync(file).isDirectory()) throw new Error('it is a directory');
  } catch (error) {
    throw new UserError(`${file} cannot be read: ${(error as Error).message}`);
  }
  return createReadStream(file, { highWaterMark: 1 << 18 });
}

/** Writes to standard output and waits while whoever reads it is slower. */
export async function print(text: string): Promise<void> {
  if (text === '' || process.stdout.write(text)) return;
  await new Promise<void>((resolve) => process.stdout.once('drain', resolve));
}

/** Lines that could not be used: the first are told on standard error, all are counted. */
export class LineProblems {
  readonly #file: string;
  #count = 0;

  constructor(file: string) {
    this.#file = file;
  }

  add(number: number, problem: string): void {
    if (++this.#count <= problemsShown) process.stderr.write(`${this.#file}:${number}: ${problem}\n`);
  }

  /** Exit status of the command: 1 if there were any. */
  finish(): number {
    if (this.#count > problemsShown) {
      process.stderr.write(
        `${this.#file}: ${this.#count} lines could not be used, the first ${problemsShown} are above\n`,
      );
    }
    return this.#count === 0 ? 0 : 1;
  }
}
