import { GrowingBuffer, linesOfBody, type Frame } from '@tripline/kong';
import type { Intake, Outcome } from './intake.ts';

export interface LogHandlerOptions {
  intake: Intake;
  /** Longest line, in bytes. Default 1 MiB. */
  maxLineBytes?: number;
  /** Largest body, in bytes. Default 8 MiB. All bodies under way together may have four times as much. */
  maxBodyBytes?: number;
}

const methods = ['POST', 'PUT', 'PATCH'];
const bodiesAtOnce = 4;
const beginningBytes = 10_000;
const unreadable = ['not-json', 'too-deep', 'not-a-log-line', 'too-long'];
const withoutToken = ['missing-token', 'wrong-token'];

/**
 * Takes the posts of Kong's http-log plugin: a log line as an object, or, where its queue has a `max_batch_size` above 1,
 * an array of them. Any path; POST, PUT or PATCH.
 *
 * - 200 when every good line is durable: on the bus, or in the spool and flushed. Lines that are refused do not change
 *   that, as sending them again would not help; `{ accepted, rejected }` counts them.
 * - 503 when neither takes them. When too many bodies are under way, the oldest gets it, since Kong sends its bodies
 *   without a pause. Kong's queue keeps the lines and tries again. Lines that were kept nevertheless come a second time,
 *   with the same ids.
 * - 400 when nothing in the body is a log line, 401 when a token is configured and no line carries it (in the line, as with
 *   tcp-log), 413 when the body is too large, 405 and 415.
 *
 * Kong (3.4 and later) takes a status below 300 as success, and tries everything else again for `queue.max_retry_time`
 * (60 s), while its queue waits. Rejects if the body breaks off.
 */
export function createLogHandler(options: LogHandlerOptions): (request: Request) => Promise<Response> {
  const { intake, maxLineBytes = 2 ** 20, maxBodyBytes = 8 * 2 ** 20 } = options;
  const maxHeldBytes = bodiesAtOnce * maxBodyBytes;
  /** Bodies under way, oldest first. */
  const unfinished = new Set<GrowingBuffer>();
  let heldBytes = 0;
  const release = (body: GrowingBuffer): void => {
    unfinished.delete(body);
    heldBytes -= body.length;
    body.clear();
  };

  return async (request) => {
    if (!methods.includes(request.method)) {
      return answer(405, 'Post log lines here, as the http-log plugin does.', { allow: methods.join(', ') });
    }
    const encoding = request.headers.get('content-encoding');
    if (encoding !== null && encoding !== 'identity') {
      return answer(415, `Content-Encoding is ${encoding}; allowed: none.`);
    }
    const tooLarge = (): Response =>
      answer(
        413,
        `The body is larger than ${maxBodyBytes} bytes (collector.http.maxBodyBytes). Lower queue.max_batch_size in Kong.`,
      );
    if (Number(request.headers.get('content-length') ?? 0) > maxBodyBytes) return tooLarge();

    const body = new GrowingBuffer();
    unfinished.add(body);
    try {
      for await (const chunk of (request.body ?? []) as AsyncIterable<Uint8Array>) {
        if (!unfinished.has(body)) return tryAgain('Too many bodies are under way.');
        body.append(chunk);
        heldBytes += chunk.length;
        if (body.length > maxBodyBytes) return tooLarge();
        for (const oldest of unfinished) {
          if (heldBytes <= maxHeldBytes) break;
          release(oldest);
        }
      }
      if (!unfinished.delete(body)) return tryAgain('Too many bodies are under way.');
      return answerTo(await intake.takeAll(framesOf(body.bytes, maxLineBytes)));
    } finally {
      release(body);
    }
  };
}

function* framesOf(body: Buffer, maxLineBytes: number): Generator<Frame> {
  for (const line of linesOfBody(body)) {
    // Without its line feed.
    if (line.end - line.begin - 1 <= maxLineBytes) yield { kind: 'line', ...line };
    else yield { kind: 'too-long', beginning: line.bytes.subarray(line.begin, line.begin + beginningBytes) };
  }
}

function answerTo({ kept, accepted, rejected, streamSessions }: Outcome): Response {
  if (!kept) return tryAgain('Neither the bus nor the spool takes the lines.');
  const reasons = [...rejected.keys()];
  const counts = { accepted, rejected: Object.fromEntries(rejected), streamSessions };
  if (accepted + streamSessions > 0 || reasons.length === 0) return answer(200, 'ok', {}, counts);
  if (reasons.every((reason) => withoutToken.includes(reason))) {
    const hint = 'No line carries the token in tripline.token: run tripline kong connect --apply.';
    return answer(401, hint, { 'www-authenticate': 'tripline-token' }, counts);
  }
  if (reasons.every((reason) => unreadable.includes(reason))) {
    return answer(
      400,
      'Nothing in the body is a log line of Kong: an object, or an array of them.',
      {},
      counts,
    );
  }
  return answer(200, 'ok', {}, counts);
}

function tryAgain(message: string): Response {
  return answer(503, message, { 'retry-after': '5' });
}

function answer(
  status: number,
  message: string,
  headers: Record<string, string> = {},
  counts: object = {},
): Response {
  return Response.json({ message, ...counts }, { status, headers });
}
