import { statSync } from 'node:fs';

/** How much of a file has been read, as a bar; nothing of standard input. */
export function shareOf(file: string, bytes: number): string {
  if (file === '-') return '';
  const size = statSync(file).size;
  const share = size === 0 ? 1 : bytes / size;
  return `  [${'='.repeat(Math.floor(share * 30)).padEnd(30)}] ${Math.floor(share * 100)} %`;
}

/** A line on a terminal that is written over, elsewhere one every 10 s; returns how to end it. */
export function showProgress(text: () => string): () => void {
  const terminal = process.stderr.isTTY;
  const timer = setInterval(
    () => process.stderr.write(terminal ? `\r${text()}\u001b[K` : `${text()}\n`),
    terminal ? 200 : 10_000,
  );
  return () => {
    clearInterval(timer);
    if (terminal) process.stderr.write('\r\u001b[K');
  };
}
