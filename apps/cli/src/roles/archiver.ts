import { startArchiver } from '@tripline/app-archiver';
import type { Process } from './process.ts';

export function addArchiver({ config, bus, backends, context, add }: Process): void {
  if (!config.lake.enabled) return;
  const { retentionDays } = config.lake;
  add(startArchiver({ ...context('archiver'), bus, lake: backends.lake, retentionDays }));
}
