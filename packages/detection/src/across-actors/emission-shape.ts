import {
  alertProblem,
  isArrayOf,
  isCount,
  isNumber,
  isOneOf,
  isString,
  type Alert,
  type Check,
} from '@tripline/model';
import { ENDPOINT_WINDOW_MS } from './limits.ts';
import type { EncodedHold, EncodedStep } from './minute-hold.ts';
import type { Emission } from './pre-aggregator.ts';

/** No window lies beyond the last time that a date can have. */
const WINDOW_MOST = 8.64e15 / ENDPOINT_WINDOW_MS;

const isWindow: Check = (value) => isCount(value) && (value as number) <= WINDOW_MOST;
const isStringOrNull: Check = (value) => value === null || isString(value);
const isNumberOrNull: Check = (value) => value === null || isNumber(value);
const isStringOrZero: Check = (value) => value === 0 || isString(value);

/** An array with members of these types, then some of `more`, then others, of the type `rest` if it is given. */
function isTuple(members: readonly Check[], more: readonly Check[] = [], rest?: Check): Check {
  const checks = [...members, ...more];
  return (value) => {
    if (!Array.isArray(value) || value.length < members.length) return false;
    return value.every((member, at) => (checks[at] ?? rest)?.(member) ?? true);
  };
}

function orZero(check: Check): Check {
  return (value) => value === 0 || check(value);
}

/** An alert about an address that `groupReports` can put together with others. */
const isReport: Check = (value) => {
  if (alertProblem(value) !== undefined) return false;
  const { accounts, opened } = (value as Alert).evidence;
  return isArrayOf(isString)(accounts) && isArrayOf(isString)(opened);
};

const isFailing = isTuple([
  isNumber,
  isCount,
  isArrayOf(isTuple([isString, isString, isCount])),
  isArrayOf(isTuple([isString, isCount, isStringOrNull, isNumberOrNull])),
  isArrayOf(isTuple([isString, isCount])),
  isArrayOf(isTuple([isString, isString, isString, isStringOrNull, isNumberOrNull])),
]);
const isWalked = isArrayOf(
  isTuple([isNumber, isStringOrZero, isString, isStringOrNull, isNumberOrNull, isString]),
);
const isTry = isTuple([isOneOf(0, 1), isString, isStringOrNull, isNumberOrNull, isNumber, isString]);
const isTried = isArrayOf(isTuple([isString], [], isTry));
const isCallers = isArrayOf(
  isTuple([isString, isCount, isString, isStringOrZero, isStringOrNull, isNumberOrNull]),
);

/** As `EncodedMinute`. */
const isMinute = isTuple(
  [isCount, isCount, isCount, isCount, isArrayOf(isTuple([isString, isCount], [], isString))],
  [orZero(isFailing), orZero(isWalked), orZero(isTried), orZero(isArrayOf(isReport)), isCallers],
);
const isUntil: Check = (value) => value === -1 || isWindow(value);
const isBoolean: Check = (value) => typeof value === 'boolean';
const isHold = isTuple([isUntil, isArrayOf(isTuple([isCount, isCount, isUntil, isBoolean]))]);
const isStep = isArrayOf(isTuple([isWindow, isString, isString, isMinute]));
const areParts = isArrayOf(isTuple([isWindow, isWindow, isString, isString, isMinute]));

/**
 * A record of the topic `aggregates`, checked down to the last number: what is wrong in one would end up in what is learnt of an
 * endpoint. Throws on what is no emission of one of `sources` partitions, and says which field is wrong.
 */
export function asEmission(record: unknown, sources: number): Emission {
  const { from, number, until, idle, parts } = (record ?? {}) as Partial<Emission>;
  if (!isCount(from) || from! >= sources)
    throw new Error(`from is not the number of a partition, 0 to ${sources - 1}`);
  if (!isCount(number)) throw new Error('number is no integer from 0 on');
  if (!isUntil(until)) throw new Error('until is neither -1 nor a window');
  if (!isBoolean(idle)) throw new Error('idle is neither true nor false');
  if (!areParts(parts)) throw new Error('parts are not all windows of endpoints');
  return record as Emission;
}

/** What `MinuteHold.encode` gave, as a checkpoint has it. Throws on anything else. */
export function asHold(value: unknown): EncodedHold {
  if (!isHold(value)) throw new Error('it does not say where the partitions of api-calls stand');
  return value as EncodedHold;
}

/** A step that `MinuteHold.changedSteps` gave, as a checkpoint has it. Throws on anything else. */
export function asStep(value: unknown): EncodedStep {
  if (!isStep(value)) throw new Error('they are no windows of endpoints');
  return value as EncodedStep;
}
