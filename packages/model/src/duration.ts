const durationPattern = /^([1-9][0-9]*)(s|m|h|d)$/;
const unitMs = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** Converts `"90s"`, `"15m"`, `"2h"` or `"7d"` to ms. Returns null for any other text, `"permanent"` included. */
export function durationMs(text: string): number | null {
  const found = durationPattern.exec(text);
  return found ? Number(found[1]) * unitMs[found[2] as keyof typeof unitMs] : null;
}
