/** A path pattern: `*` stands for any characters but a slash. Returns the function that tells whether a whole path matches. */
export function simplePattern(pattern: string): (path: string) => boolean {
  const parts = pattern.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'));
  const expression = new RegExp(`^${parts.join('[^/]*')}$`);
  return (path) => expression.test(path);
}
