/** The records of NDJSON; a line that is not JSON stays text. */
export function parseRecords(body: Buffer): unknown[] {
  const text = body.toString('utf8');
  try {
    // One parse for all: no line break can stand within a record. Much cheaper than line by line.
    return JSON.parse(`[${text.slice(0, -1).replaceAll('\n', ',')}]`) as unknown[];
  } catch {
    return text.split('\n').slice(0, -1).map(parseOrText);
  }
}

function parseOrText(line: string): unknown {
  try {
    return JSON.parse(line) as unknown;
  } catch {
    return line;
  }
}
