export { createSanitizer, maxTextChars } from './sanitizer.ts';
export type { Sanitizer, SanitizerOptions } from './sanitizer.ts';
export { maxOutlineChars, outline } from './outline.ts';
