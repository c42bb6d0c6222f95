/** Says whether a value, which is not undefined, may stand in a field. */
export type Check = (value: unknown) => boolean;

/** The fields of a record: `optional` where the type allows that a field is left out, else `required`. */
export type Shape<T> = { [K in keyof T]-?: object extends Pick<T, K> ? OptionalField : RequiredField };
interface RequiredField {
  check: Check;
  isOptional: false;
}
interface OptionalField {
  check: Check;
  isOptional: true;
}

export const required = (check: Check): RequiredField => ({ check, isOptional: false });
export const optional = (check: Check): OptionalField => ({ check, isOptional: true });

/**
 * A check of records that come from outside the process, for where a zod schema costs too much per record: gives the name of a
 * field whose value is none of its type, `''` if the value is no object, undefined if all is well. Other fields are let through.
 */
export function createShapeCheck<T>(shape: Shape<T>): (value: unknown) => string | undefined {
  const fields = new Map(Object.entries<RequiredField | OptionalField>(shape));
  const required = [...fields].filter(([, { isOptional }]) => !isOptional).map(([name]) => name);
  return (value) => {
    if (!isObject(value)) return '';
    const record = value as Record<string, unknown>;
    let missing = required.length;
    // The fields that are there, as most of the optional ones mostly are not.
    for (const name in record) {
      const field = fields.get(name);
      if (field === undefined) continue;
      if (!field.check(record[name])) return name;
      if (!field.isOptional) missing--;
    }
    return missing === 0 ? undefined : required.find((name) => !Object.hasOwn(record, name));
  };
}

export const isString: Check = (value) => typeof value === 'string';
export const isText: Check = (value) => typeof value === 'string' && value !== '';
export const isNumber: Check = (value) => Number.isFinite(value);
export const isInteger: Check = (value) => Number.isSafeInteger(value);
export const isCount: Check = (value) => Number.isSafeInteger(value) && (value as number) >= 0;
/** Ms since the epoch, as far as dates go. */
export const isTimeMs: Check = (value) => isCount(value) && (value as number) <= 8.64e15;
export const isTrue: Check = (value) => value === true;
export const isOneOf =
  (...values: readonly unknown[]): Check =>
  (value) =>
    values.includes(value);

export function isArrayOf(check: Check): Check {
  return (value) => {
    if (!Array.isArray(value)) return false;
    for (const member of value as readonly unknown[]) if (!check(member)) return false;
    return true;
  };
}

export function isRecordOf(check: Check): Check {
  return (value) => {
    if (!isObject(value)) return false;
    const record = value as Record<string, unknown>;
    for (const name in record) if (!check(record[name])) return false;
    return true;
  };
}

export function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
