import { REVISION_LEAST_MS, REVISION_SHARE, type ActorKind } from '@tripline/model';

/** Calls of one actor, address and user agent belong together until they pause for this long. */
export const SESSION_GAP_MS = 30 * 60_000;

/** Selects calls that began from `fromMs` up to, not including, `untilMs` (event time). */
export interface RiskFilter {
  fromMs: number;
  untilMs: number;
  /** Of one actor only; of all if left out. */
  actor?: { kind: ActorKind; id: string };
  /** Least risk, 0 to 100. */
  riskAtLeast: number;
  /** Rows at most, up to 10,000. */
  limit: number;
}

/** Points by id of the alert that gives them. */
export type Findings = Record<string, number>;

/** A call with its risk from 0 to 100: the sum of its findings' points, capped. Times are ms. */
export interface RatedCall {
  id: string;
  startedAt: number;
  actorKind: ActorKind;
  actorId: string;
  actorName: string;
  ip: string;
  userAgent: string;
  method: string;
  path: string;
  service: string;
  endpoint: string;
  status: number;
  risk: number;
  findings: Findings;
}

/**
 * Calls of one actor, address and user agent without a long pause; `ip` is the address, of IPv6 its /64. Empty text where the calls
 * say nothing. Times are ms.
 */
export interface Session {
  /** Id of its first call. */
  id: string;
  actorKind: ActorKind;
  actorId: string;
  actorName: string;
  ip: string;
  country: string;
  asn: number;
  userAgent: string;
  startedAt: number;
  lastSeenAt: number;
  calls: number;
  /** Calls with a status of 400 or more. */
  failedCalls: number;
  endpoints: number;
  /** 0 to 100: the sum over its findings, each with the most points that it gives one of the calls, capped. */
  risk: number;
  findings: Findings;
}

/** Points of a call that the alert names as a sample; other calls of the episode have half. */
const points = `transform(a.severity, ['low', 'medium', 'high', 'critical'], [10, 30, 60, 90], 0)`;

/**
 * The time until which calls may belong to an alert. An open alert that grows is published again when a share of its age
 * has passed since its last revision; so long, calls of the attack may be newer than `lastSeenAt`.
 */
const reachesTo = `if(status = 'open', lastSeenAt + toIntervalMillisecond(greatest(${REVISION_LEAST_MS},
  toInt64(dateDiff('millisecond', raisedAt, lastSeenAt) * ${REVISION_SHARE / (1 - REVISION_SHARE)}))), lastSeenAt)`;

const inScope = `c.startedAt BETWEEN a.startedAt AND a.reachesTo
  AND a.service IN ('', c.service) AND a.endpoint IN ('', c.endpoint)`;

/** The address of a call as alerts name it: of IPv6 the /64. */
const address = `if(network = '', ip, network)`;

const risk = (findings: string): string => `toUInt8(least(100, arraySum(mapValues(${findings}))))`;

/** Rows are `RatedCall`s, newest first. */
export function ratedCallsSql(filter: RiskFilter): string {
  return `WITH ${findingsOf(filter)}
    SELECT c.id AS id, toUnixTimestamp64Milli(c.startedAt) AS startedAt, c.actorKind AS actorKind,
      c.actorId AS actorId, c.actorName AS actorName, c.ip AS ip, c.userAgent AS userAgent, c.method AS method,
      c.path AS path, c.service AS service, c.endpoint AS endpoint, c.status AS status,
      ${risk('f.findings')} AS risk, f.findings AS findings
    FROM (SELECT * FROM tripline.api_calls WHERE ${calls(filter)}) AS c
    ${filter.riskAtLeast > 0 ? 'INNER' : 'LEFT'} JOIN found AS f ON c.id = f.callId
    WHERE risk >= {riskAtLeast:Float64}
    ORDER BY c.startedAt DESC, c.id LIMIT {limit:UInt32}`;
}

/** Rows are `Session`s, riskiest first, then those of the latest calls. */
export function sessionsSql(filter: RiskFilter): string {
  const key = 'actorKind, actorId, address, userAgent';
  return `WITH ${findingsOf(filter)}
    SELECT argMin(s.id, (s.startedAt, s.id)) AS id, actorKind, actorId, any(s.actorName) AS actorName,
      address AS ip, any(s.country) AS country, any(s.asn) AS asn, userAgent,
      toUnixTimestamp64Milli(min(s.startedAt)) AS startedAt,
      toUnixTimestamp64Milli(max(s.startedAt)) AS lastSeenAt,
      count() AS calls, countIf(s.status >= 400) AS failedCalls, uniqExact(s.service, s.endpoint) AS endpoints,
      maxMap(f.findings) AS findings, ${risk('findings')} AS risk
    FROM (
      SELECT *, sum(begins) OVER (PARTITION BY ${key} ORDER BY startedAt, id) AS number
      FROM (
        SELECT actorKind, actorId, ${address} AS address, userAgent, id, startedAt, actorName, country, asn, status,
          service, endpoint,
          startedAt - lagInFrame(startedAt) OVER (
            PARTITION BY ${key} ORDER BY startedAt, id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
          ) > ${SESSION_GAP_MS / 1_000} AS begins
        FROM tripline.api_calls WHERE ${calls(filter)}
      )
    ) AS s
    LEFT JOIN found AS f ON s.id = f.callId
    GROUP BY ${key}, number HAVING risk >= {riskAtLeast:Float64}
    ORDER BY risk DESC, lastSeenAt DESC, id LIMIT {limit:UInt32}`;
}

/** The parameters of both statements. Throws a `RangeError` for a filter out of range. */
export function riskParameters(filter: RiskFilter): Record<string, unknown> {
  const { fromMs, untilMs, actor, riskAtLeast, limit } = filter;
  if (!(fromMs < untilMs)) throw new RangeError(`untilMs is ${untilMs}: it must be later than fromMs.`);
  if (!(riskAtLeast >= 0 && riskAtLeast <= 100))
    throw new RangeError(`riskAtLeast is ${riskAtLeast}: allowed is 0 to 100.`);
  if (!Number.isInteger(limit) || limit < 1 || limit > 10_000)
    throw new RangeError(`limit is ${limit}: allowed are whole numbers from 1 to 10000.`);
  return { fromMs, untilMs, riskAtLeast, limit, actorKind: actor?.kind ?? '', actorId: actor?.id ?? '' };
}

function calls({ actor }: RiskFilter): string {
  const during =
    'startedAt >= fromUnixTimestamp64Milli({fromMs:Int64}) AND startedAt < fromUnixTimestamp64Milli({untilMs:Int64})';
  return actor === undefined
    ? during
    : `${during} AND actorKind = {actorKind:String} AND actorId = {actorId:String}`;
}

/**
 * The table `found`: points by alert, for each call that has any. An alert about an address concerns all calls from there;
 * one about an endpoint or a campaign, all calls from the addresses that it names. One about a consumer or a credential
 * concerns only its own calls: neighbours behind the same address are innocent.
 */
function findingsOf(filter: RiskFilter): string {
  const from = `(SELECT id, startedAt, actorKind, actorId, ${address} AS address, service, endpoint FROM tripline.api_calls
    WHERE ${calls(filter)}) AS c`;
  const during = `${reachesTo} >= fromUnixTimestamp64Milli({fromMs:Int64})
    AND startedAt < fromUnixTimestamp64Milli({untilMs:Int64})`;
  const alerts = `SELECT id, severity, startedAt, ${reachesTo} AS reachesTo, service, endpoint`;
  return `found AS (
    SELECT callId, maxMap(map(alertId, given)) AS findings FROM (
      SELECT c.id AS callId, a.id AS alertId, ${points} / 2 AS given FROM ${from}
      INNER JOIN (${alerts}, actorKind, actorId FROM tripline.alerts
        WHERE actorKind IN ('consumer', 'credential') AND ${during}) AS a
      ON c.actorKind = a.actorKind AND c.actorId = a.actorId WHERE ${inScope}
      UNION ALL
      SELECT c.id, a.id, ${points} / 2 FROM ${from}
      INNER JOIN (${alerts}, arrayJoin(if(actorKind = 'address', [actorId],
          arrayMap(source -> JSONExtractString(source, 'ip'), JSONExtractArrayRaw(alert, 'sources')))) AS address
        FROM tripline.alerts WHERE actorKind NOT IN ('consumer', 'credential') AND ${during}) AS a
      ON c.address = a.address WHERE ${inScope}
      UNION ALL
      SELECT c.id, a.id, ${points} FROM ${from}
      INNER JOIN (SELECT id, severity, arrayJoin(JSONExtract(alert, 'sampleCallIds', 'Array(String)')) AS callId
        FROM tripline.alerts WHERE ${during}) AS a
      ON c.id = a.callId
    ) GROUP BY callId
  )`;
}
