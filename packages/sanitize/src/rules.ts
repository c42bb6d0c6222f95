import type { NameKind } from './names.ts';
import type { NameEndings } from './scan.ts';

/** A part of a text to replace by the token of `secret`, which is the part in decoded and plain form. */
export interface Hit {
  start: number;
  end: number;
  kind: string;
  secret: string;
}

export interface Rules {
  nameKind: (name: string) => NameKind;
  nameEndings: NameEndings;
  /** The operator's; flags `gu`. */
  patterns: readonly RegExp[];
}
