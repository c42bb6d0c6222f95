declare module 'uuid' {
  /** Makes a uuid of version 5 (RFC 9562) of a name, as bytes of UTF-8, in a namespace. */
  export function v5(name: Uint8Array, namespace: string): string;
}
