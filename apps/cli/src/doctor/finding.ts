import type { LoadedConfig } from '@tripline/runtime';
import type { Status } from '../running.ts';

/** How a check came out; `note` is for what is fine but worth knowing. */
export interface Finding {
  level: 'ok' | 'note' | 'warn' | 'fail';
  what: string;
  /** What to do about it. */
  advice?: string;
}

/** What the checks work with. */
export interface Subject {
  loaded: LoadedConfig;
  /** What the running Tripline says of itself; undefined if none answers. Asked for once. */
  status: () => Promise<Status | undefined>;
}

/** A check yields each finding as soon as it is known. It throws only where something unforeseen fails. */
export type Check = (subject: Subject) => AsyncIterable<Finding> | Iterable<Finding>;
