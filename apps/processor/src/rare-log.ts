const logEveryMs = 60_000;

/**
 * For events of which there may be many: `log` is called at most once a minute, with how many there were since it was called last and
 * with the detail of the latest.
 */
export function createRareLog<Detail>(
  now: () => number,
  log: (events: number, detail: Detail) => void,
): (detail: Detail, events?: number) => void {
  let waiting = 0;
  let loggedAt = -Infinity;
  return (detail, events = 1) => {
    waiting += events;
    if (now() - loggedAt < logEveryMs) return;
    log(waiting, detail);
    loggedAt = now();
    waiting = 0;
  };
}
