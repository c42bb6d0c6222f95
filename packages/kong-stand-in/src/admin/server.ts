import * as http from 'node:http';
import * as https from 'node:https';
import { readBody } from '../http.ts';
import { answerAdmin, type AdminAnswer, type AdminSettings } from './api.ts';

export interface AdminServerOptions {
  settings: AdminSettings;
  /** PEM: the Admin API speaks HTTPS. */
  tls: { key: string; cert: string } | undefined;
  /** How long it takes to answer, in ms. */
  latencyMs: number;
}

/** The Admin API over HTTP or HTTPS. It counts its requests and can be made to fail. */
export class AdminServer {
  readonly server: http.Server | https.Server;
  readonly counters = { adminRequests: {} as Record<string, number>, adminWrites: 0 };
  readonly #options: AdminServerOptions;
  readonly #failures: { status: number; afterEffect: boolean }[] = [];

  constructor(options: AdminServerOptions) {
    this.#options = options;
    const onRequest = (request: http.IncomingMessage, response: http.ServerResponse): void =>
      this.#onRequest(request, response);
    this.server = options.tls ? https.createServer(options.tls, onRequest) : http.createServer(onRequest);
  }

  /** The next `n` requests get this status; with `afterEffect` they are carried out nevertheless. */
  failNext(n: number, status: number, afterEffect: boolean): void {
    for (let i = 0; i < n; i += 1) this.#failures.push({ status, afterEffect });
  }

  #onRequest(request: http.IncomingMessage, response: http.ServerResponse): void {
    readBody(request, (requestBody) => {
      const { status, headers, body } = this.#answer(request, requestBody);
      const common = {
        'Access-Control-Allow-Origin': '*',
        'Access-Control-Allow-Credentials': 'true',
        'X-Kong-Admin-Latency': '4',
        Server: `kong/${this.#options.settings.version}`,
        Connection: 'keep-alive',
      };
      const length = status === 204 ? {} : { 'Content-Length': Buffer.byteLength(body) };
      setTimeout(() => {
        response.writeHead(status, { ...common, ...headers, ...length });
        response.end(request.method === 'HEAD' ? undefined : body);
      }, this.#options.latencyMs);
    });
  }

  #answer(request: http.IncomingMessage, body: string): AdminAnswer {
    const { method = 'GET', url = '/' } = request;
    const name = `${method} ${url.replace(/\?.*/, '')}`;
    this.counters.adminRequests[name] = (this.counters.adminRequests[name] ?? 0) + 1;
    if (!['GET', 'HEAD', 'OPTIONS'].includes(method)) this.counters.adminWrites += 1;
    const failure = this.#failures.shift();
    if (failure && !failure.afterEffect) return failed(failure.status);
    const headers = request.headers as Record<string, string | undefined>;
    const answer = answerAdmin(this.#options.settings, { method, target: url, headers, body });
    return failure ? failed(failure.status) : answer;
  }
}

function failed(status: number): AdminAnswer {
  const message = status === 429 ? 'Too many requests' : 'An unexpected error occurred';
  return {
    status,
    headers: { 'Content-Type': 'application/json; charset=utf-8' },
    body: JSON.stringify({ message }),
  };
}
