export { createSanitizer, maxTextChars } from './sanitizer.ts';
export type { Sanitizer, SanitizerOptions } from './sanitizer.ts';
