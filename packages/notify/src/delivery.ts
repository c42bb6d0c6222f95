/**
 * How one attempt ended. `problem` says in words what went wrong, `answer` is the beginning of what the receiver wrote, made
 * safe for logs (see `excerptOf`); `retryAfterMs` is how long the receiver asks to be left alone.
 */
export type Delivery =
  | { kind: 'delivered' }
  /** It may pass by itself, or the attempt was ended early. `pauseAll`: nothing else may be sent meanwhile either. */
  | { kind: 'retry'; problem: string; answer?: string; retryAfterMs?: number; pauseAll?: boolean }
  /** It lasts until somebody changes the message, the receiver or the settings. */
  | { kind: 'rejected'; problem: string; answer?: string; retryAfterMs?: number }
  /** The receiver says that it no longer exists. */
  | { kind: 'gone'; problem: string; answer?: string };

/** A failed attempt. */
export type DeliveryFailure = Exclude<Delivery, { kind: 'delivered' }>;
