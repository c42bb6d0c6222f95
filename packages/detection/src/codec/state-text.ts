/**
 * The parts of a state's text after the version check. Only text that the same package wrote comes here, so the shape is
 * the caller's. Throws on anything else, with what to do.
 */
export function parseState(text: string, version: number, whose: string): unknown[] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw new Error(`state of ${whose}: not JSON: ${text.slice(0, 80)}`, { cause: error });
  }
  if (!Array.isArray(parsed) || parsed[0] !== version) {
    throw new Error(
      `state of ${whose}: expected version ${version} of the detection state, got ${text.slice(0, 80)}; ` +
        'delete the processor state to learn anew',
    );
  }
  return parsed as unknown[];
}
