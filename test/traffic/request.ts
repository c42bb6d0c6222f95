import { hashOf } from './random.ts';

export interface Service {
  name: string;
  id: string;
}

export interface Route {
  name: string;
  id: string;
  service: Service;
  paths: readonly string[];
}

/** A Kong consumer with a key. */
export interface Consumer {
  id: string;
  username: string;
  customId: string;
  tags: readonly string[];
  credentialId: string;
  key: string;
}

/** What stays the same over the requests of one program on one device. */
export interface Client {
  /** Null: nobody whom Kong knows. */
  consumer: Consumer | null;
  userAgent: string;
  /** Cookie header of browsers. */
  cookie: string | null;
}

/** Decoded parameters as Kong logs them: `true` is a name without a value, a list a name that is repeated. */
export type Query = Record<string, string | true | (string | true)[]>;

/** One request and its answer, from which both forms are made: the log line, and the API call that it becomes. */
export interface Request {
  id: string;
  startedAt: number;
  /** When its line reaches the collector; 0 until it is sent. */
  arrivesAt: number;
  client: Client;
  ip: string;
  /** Null: Kong knows no such route. */
  route: Route | null;
  method: string;
  /** As sent, percent-encoded. */
  path: string;
  query: Query | null;
  status: number;
  /** Kong answered, no upstream was asked. */
  byKong: boolean;
  requestBytes: number;
  responseBytes: number;
  latencyMs: number;
  contentType: string | null;
  /** A key that Kong does not know. */
  wrongKey: string | null;
  /** User and password of basic authentication; Kong's line has keyed fingerprints of them. */
  login: { user: string; password: string } | null;
  /** A bearer token, seen as a fingerprint likewise. */
  bearer: string | null;
  /** A further header by which an object is asked for. */
  accountHeader: string | null;
}

/** The header that operators of this site keep (`collector.keepHeaders`). */
export const keptHeader = 'x-account-id';

/** 28 characters, as the base64 of a keyed SHA-1 inside Kong. */
export function fingerprint(text: string): string {
  const part = (salt: number): string => hashOf(text, salt).toString(36).padStart(7, '0');
  return `${part(1)}${part(2)}${part(3)}${part(4)}`.slice(0, 27) + '=';
}

/** Of the whole Authorization header of basic authentication. */
export const basicFingerprint = (login: { user: string; password: string }): string =>
  fingerprint(`${login.user}:${login.password}`);

/** Host name under which the site is asked for. */
export const siteHost = 'api.example.com';

/** What a 401 asks for, as its `www-authenticate` header says; undefined for another status. */
export function challengeOf(request: Request): string | undefined {
  if (request.status !== 401) return undefined;
  if (request.login) return 'Basic realm="service"';
  return request.byKong ? 'Key' : 'Bearer error="invalid_token"';
}

/** The part of the latency that the service takes, in ms. */
export function upstreamMs(request: Request): number {
  return Math.max(0, request.latencyMs - 1);
}
