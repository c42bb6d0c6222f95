/** Runs `work` after so many ms; returns what cancels it. Passed in, so that tests need not wait. */
export type Schedule = (work: () => void, afterMs: number) => () => void;

/** By the clock of the machine. */
export const schedule: Schedule = (work, afterMs) => {
  const timer = setTimeout(work, afterMs);
  return () => clearTimeout(timer);
};
