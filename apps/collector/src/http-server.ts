import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { TlsOptions } from 'node:tls';

/**
 * An HTTP server, not yet listening, for a handler that takes a `Request` and gives a `Response`. `closing` says whether
 * kept connections shall end with the answer under way. A body must be complete within `bodyTimeoutMs`.
 */
export function createFetchServer(options: {
  handler: (request: Request) => Promise<Response>;
  tls?: TlsOptions | undefined;
  bodyTimeoutMs: number;
  closing: () => boolean;
}): Server {
  const serve = (request: IncomingMessage, response: ServerResponse): void => {
    Promise.resolve()
      .then(() => options.handler(requestOf(request)))
      // The body breaks off or comes too slowly, or fetch does not know the method.
      .catch(() => new Response(null, { status: 400 }))
      .then(async (answer) => {
        if (options.closing()) response.setHeader('connection', 'close');
        response.writeHead(answer.status, Object.fromEntries(answer.headers));
        response.end(Buffer.from(await answer.arrayBuffer()));
        // The rest of a body that the handler did not read must not be taken for the next request.
        request.resume();
      })
      .catch(() => response.destroy());
  };
  const { bodyTimeoutMs } = options;
  const limits = {
    requestTimeout: bodyTimeoutMs,
    headersTimeout: Math.min(10_000, bodyTimeoutMs),
    connectionsCheckingInterval: Math.min(5_000, bodyTimeoutMs),
    // Longer than the 60 s for which Kong keeps an idle connection: closing it under a request would fail that.
    keepAliveTimeout: 75_000,
  };
  return options.tls ? createTlsServer({ ...limits, ...options.tls }, serve) : createServer(limits, serve);
}

function requestOf(request: IncomingMessage): Request {
  const { method = 'GET' } = request;
  const headers = Object.entries(request.headers).flatMap(([name, value]): [string, string][] =>
    value === undefined ? [] : [[name, String(value)]],
  );
  const bodiless = method === 'GET' || method === 'HEAD';
  return new Request('http://collector/', {
    method,
    headers,
    ...(bodiless ? {} : { body: bodyOf(request), duplex: 'half' }),
  });
}

/** Reads the request only as far as the stream is read, so that an unread body takes no memory. */
function bodyOf(request: IncomingMessage): ReadableStream<Uint8Array> {
  let chunks: AsyncIterator<Uint8Array> | undefined;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        chunks ??= request.iterator({ destroyOnReturn: false }) as AsyncIterator<Uint8Array>;
        const next = await chunks.next();
        if (next.done) controller.close();
        else controller.enqueue(next.value);
      },
      // Releases the request, so that the rest of it can be discarded.
      async cancel() {
        await chunks?.return?.();
      },
    },
    { highWaterMark: 0 },
  );
}
