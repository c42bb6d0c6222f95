/** The records of NDJSON; a line that is not JSON stays text. */
export function parseRecords(body: Buffer): unknown[] {
  const records: unknown[] = [];
  // One by one: in one text for all, a single character beyond Latin-1 would make all of it two bytes wide, and slow.
  for (let at = 0, end = body.indexOf(10); end >= 0; at = end + 1, end = body.indexOf(10, at))
    records.push(parseOrText(body.toString('utf8', at, end)));
  return records;
}

function parseOrText(line: string): unknown {
  try {
    return JSON.parse(line) as unknown;
  } catch {
    return line;
  }
}
