import { z } from 'zod';

/**
 * Whose behaviour is profiled: a Kong consumer; else a credential that somebody verified; else the source address. A
 * credential that a client merely presented is never an actor, as anybody can invent one.
 */
export type ActorKind = 'consumer' | 'credential' | 'address';

/**
 * Why a credential acts: Kong authenticated it without a consumer (`kong`); the operator named it as the service's own
 * (`declared`); or the endpoint was seen to refuse whoever presents nothing (`learnt`).
 */
export type VerifiedBy = 'kong' | 'declared' | 'learnt';

/**
 * What the call says about credentials. `challenge`: refused without having presented any, as the first leg of NTLM, a CORS
 * preflight or a monitor is. `failure`: refused with what it presented, also where a login endpoint answers something else
 * than 401. `expired`: refused, but Kong's answer says that the token is past its time or the client's clock is wrong.
 * `success`: a login endpoint accepted it.
 */
export type AuthOutcome = 'challenge' | 'failure' | 'expired' | 'success';

/**
 * One request, normalised and sanitised: the only form that leaves the collector, the record on the bus and the row in
 * the lake. It never changes afterwards. A field that would be empty is left out; the lake fills in the column's default.
 *
 * Times are ms since the epoch, sizes bytes on the wire, durations ms. Tokens look like `~kind~` and 22 characters, see
 * `packages/sanitize`.
 */
export interface ApiCall {
  /** Kong's request id and the start time; a hash of the line where Kong gives no id (before 3.5). */
  id: string;
  /** When Kong began to read the request: the event time. */
  startedAt: number;
  actorKind: ActorKind;
  /** The consumer's uuid, the credential's token, or the address: IPv4 whole, IPv6 by its /64 (`2001:db8:1:2::/64`). */
  actorId: string;
  /** What to show for it: username or custom id, else the id. */
  actorName: string;
  /** Left out for consumers and addresses. */
  verifiedBy?: VerifiedBy;

  consumerId?: string;
  consumerUsername?: string;
  consumerCustomId?: string;
  consumerTags?: string[];
  /** Id of the Kong credential entity that authenticated the request; a token where it is not a uuid. */
  credentialId?: string;
  /** Token of the secret that was presented, right or wrong. */
  credential?: string;
  /** Token of the user name that was presented (basic auth). */
  user?: string;
  /** `basic`, `bearer`, `key`, … as far as the line tells. */
  authScheme?: string;
  /** Whether the client presented a credential at all; left out where the line does not tell. */
  presented?: 'nothing' | 'something';
  auth?: AuthOutcome;
  /** Calls that consumers or verified credentials made with success from the same address within the last hour. */
  addressSuccesses?: number;

  /** Client address as Kong sees it; IPv6 compressed, IPv4-mapped addresses as IPv4. Left out if Kong had none. */
  ip?: string;
  /** Of an IPv6 address its /64, which stands for it wherever an address is a source: one client has a whole /64. */
  network?: string;
  /** ISO 3166-1 alpha-2, from the operator's database. */
  country?: string;
  city?: string;
  latitude?: number;
  longitude?: number;
  asn?: number;
  asOrganization?: string;

  method: string;
  host?: string;
  /** Request path as it was sent, without query, sanitised. Empty if nginx refused the request before reading it. */
  path: string;
  /** Method and path template, `GET /orders/{id}`. */
  endpoint: string;
  /** Name of the Kong service, else its id. */
  service?: string;
  /** Name of the Kong route, else its id. */
  route?: string;
  /** Parameters in order of arrival; `[]` for a name without a value (`?debug`). */
  query?: Record<string, string[]>;
  userAgent?: string;
  referer?: string;
  contentType?: string;
  /** Cookie names, each with the token of its value. */
  cookies?: Record<string, string>;
  /** Further request headers that the operator chose to keep, sanitised. */
  headers?: Record<string, string>;

  /** As sent to the client; 499 when the client went away. */
  status: number;
  /** Who answered. */
  source: 'upstream' | 'kong';
  /** As Kong writes it: "502, 200", "-"; left out if it is the same as `status`, or if no upstream answered. */
  upstreamStatus?: string;
  /** `grpc-status` of the answer, where the line has it: 16 is unauthenticated, 7 permission denied. */
  grpcStatus?: number;
  /**
   * A 404, by Kong without a route or by the upstream, that says more about the gateway than about the client: such a path was
   * served lately, or hardly any call has a route at present.
   */
  pathGone?: true;
  /**
   * Kong itself turned an authenticated consumer away (request-termination, rate-limiting, acl, ip-restriction): not
   * the actor's normal behaviour and never learnt from. Our own blocks look exactly like this.
   */
  refused?: true;
  requestBytes: number;
  responseBytes: number;
  latencyMs: number;
  /** Left out if no upstream was tried. */
  upstreamMs?: number;
  workspace?: string;
}

/** The same shape, checked: for what reads API calls from outside the bus, and for tests. */
export const apiCallSchema = z.strictObject({
  id: z.string().min(8).max(80),
  startedAt: z.int().min(0),
  actorKind: z.enum(['consumer', 'credential', 'address']),
  actorId: z.string().min(1),
  actorName: z.string().min(1),
  verifiedBy: z.enum(['kong', 'declared', 'learnt']).optional(),
  consumerId: z.string().optional(),
  consumerUsername: z.string().optional(),
  consumerCustomId: z.string().optional(),
  consumerTags: z.array(z.string()).optional(),
  credentialId: z.string().optional(),
  credential: z.string().optional(),
  user: z.string().optional(),
  authScheme: z.string().optional(),
  presented: z.enum(['nothing', 'something']).optional(),
  auth: z.enum(['challenge', 'failure', 'expired', 'success']).optional(),
  addressSuccesses: z.int().min(1).optional(),
  ip: z.union([z.ipv4(), z.ipv6()]).optional(),
  network: z.cidrv6().optional(),
  country: z.string().length(2).optional(),
  city: z.string().optional(),
  latitude: z.number().optional(),
  longitude: z.number().optional(),
  asn: z.int().optional(),
  asOrganization: z.string().optional(),
  method: z.string(),
  host: z.string().optional(),
  path: z.string(),
  endpoint: z.string(),
  service: z.string().optional(),
  route: z.string().optional(),
  query: z.record(z.string(), z.array(z.string())).optional(),
  userAgent: z.string().optional(),
  referer: z.string().optional(),
  contentType: z.string().optional(),
  cookies: z.record(z.string(), z.string()).optional(),
  headers: z.record(z.string(), z.string()).optional(),
  status: z.int().min(0).max(65535),
  source: z.enum(['upstream', 'kong']),
  upstreamStatus: z.string().optional(),
  grpcStatus: z.int().min(0).optional(),
  pathGone: z.literal(true).optional(),
  refused: z.literal(true).optional(),
  requestBytes: z.int().min(0),
  responseBytes: z.int().min(0),
  latencyMs: z.int().min(0),
  upstreamMs: z.int().min(0).optional(),
  workspace: z.string().optional(),
});

/** The bus key of a call: calls with the same key stay in order on one partition. */
export function actorKey(call: Pick<ApiCall, 'actorKind' | 'actorId'>): string {
  return `${call.actorKind}:${call.actorId}`;
}

/** Where a call comes from, as it counts as a source: the IPv4 address, or the /64 of an IPv6 address. */
export function sourceOf(call: Pick<ApiCall, 'ip' | 'network'>): string | undefined {
  return call.network ?? call.ip;
}
