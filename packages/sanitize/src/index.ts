export * from './sanitizer.ts';
