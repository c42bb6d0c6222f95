/** Resolves after a while, or earlier: when the function is called that `given` receives. */
export function waitFor(ms: number, given: (end: () => void) => void = () => undefined): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    given(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}
