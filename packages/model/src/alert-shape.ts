import { isAlertType, severities, type Alert, type AlertActor, type AlertSource } from './alert.ts';
import {
  createShapeCheck,
  isArrayOf,
  isCount,
  isInteger,
  isNumber,
  isObject,
  isOneOf,
  isString,
  isText,
  isTimeMs,
  isTrue,
  optional,
  required,
  type Check,
} from './shape.ts';

const isStringOrNull: Check = (value) => value === null || isString(value);
const isMeasure: Check = (value) => measureProblem(value) === undefined;
const isExpected: Check = (value) => expectedProblem(value) === undefined;
const isActor: Check = (value) => actorProblem(value) === undefined;
const isSource: Check = (value) => sourceProblem(value) === undefined;

const measureProblem = createShapeCheck<Alert['observed']>({
  value: required(isNumber),
  unit: required(isString),
});
const expectedProblem = createShapeCheck<Alert['expected']>({
  value: required(isNumber),
  low: required(isNumber),
  high: required(isNumber),
  unit: required(isString),
});
const actorProblem = createShapeCheck<AlertActor>({
  kind: required(isText),
  id: required(isText),
  name: required(isString),
  username: optional(isString),
  customId: optional(isString),
  tags: optional(isArrayOf(isString)),
});
const sourceProblem = createShapeCheck<AlertSource>({
  ip: required(isString),
  count: required(isNumber),
  country: optional(isString),
  asn: optional(isInteger),
});

/**
 * Is a record of the bus an alert? Gives the name of a field that is missing or of another type, see `createShapeCheck`. Types of
 * alerts and kinds of actors that this version does not know are accepted: policies do not name them.
 */
export const alertProblem = createShapeCheck<Alert>({
  id: required(isText),
  revision: required(isCount),
  type: required(isAlertType),
  severity: required(isOneOf(...severities)),
  score: required(isNumber),
  actor: required(isActor),
  service: required(isStringOrNull),
  route: required(isStringOrNull),
  endpoint: required(isStringOrNull),
  raisedAt: required(isTimeMs),
  startedAt: required(isTimeMs),
  lastSeenAt: required(isTimeMs),
  count: required(isCount),
  status: required(isOneOf('open', 'closed')),
  dryRun: optional(isTrue),
  observed: required(isMeasure),
  expected: required(isExpected),
  summary: required(isString),
  sources: required(isArrayOf(isSource)),
  evidence: required(isObject),
  sampleCallIds: required(isArrayOf(isString)),
  references: required(isArrayOf(isString)),
});
