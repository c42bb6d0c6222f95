import { setUp } from '../../scripts/setup.mjs';
import { noteSkippedSuites } from '../engines/needs.ts';

/** Before all tests: sets up and builds. After them: says which suites did not run, and what would make them run. */
export default async function beforeAllTests(): Promise<() => void> {
  await setUp();
  const skippedSuites = noteSkippedSuites();
  return () => void process.stderr.write(skippedSuites());
}
