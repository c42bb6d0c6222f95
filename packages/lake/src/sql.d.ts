/** A file of SQL, imported as text: esbuild does so by the attribute `type: 'text'`, vitest by the plugin in vitest.config.ts. */
declare module '*.sql' {
  const text: string;
  export default text;
}
