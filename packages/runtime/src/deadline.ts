/** Thrown when something took longer than its deadline. */
export class DeadlineError extends Error {
  override name = 'DeadlineError';

  constructor(ms: number) {
    super(`It did not answer within ${Math.round(ms)} ms.`);
  }
}

/** Rejects with a `DeadlineError` when the work takes longer than `ms`; the work itself goes on. */
export async function withDeadline<T>(ms: number, work: () => PromiseLike<T>): Promise<T> {
  const { value } = await race(ms, work());
  if (value === late) throw new DeadlineError(ms);
  return value;
}

/** Resolves with the work's result, or with undefined once it takes longer than `ms`; the work itself goes on. */
export async function resultWithin<T>(ms: number, work: PromiseLike<T>): Promise<T | undefined> {
  const { value } = await race(ms, work);
  return value === late ? undefined : value;
}

const late = Symbol('late');

async function race<T>(ms: number, work: PromiseLike<T>): Promise<{ value: T | typeof late }> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<typeof late>((resolve) => {
    timer = setTimeout(() => resolve(late), ms);
  });
  try {
    return { value: await Promise.race([work, deadline]) };
  } finally {
    clearTimeout(timer);
  }
}
