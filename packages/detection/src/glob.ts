/** `*` stands for any run of characters, `?` for one. Patterns are the operator's own and names are short. */
export function globToRegExp(glob: string): RegExp {
  const source = glob
    .replace(/\*+/g, '*')
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replace(/\*/g, '.*')
    .replace(/\?/g, '.');
  return new RegExp(`^${source}$`, 's');
}
