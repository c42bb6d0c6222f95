/** What to do with the value of a member: store it, or read it in a way of its own from the cursor on. */
export type Member<Target, Cursor> =
  | { set: (target: Target, value: unknown) => void; read?: undefined }
  | { set?: undefined; read: (cursor: Cursor, target: Target, depth: number) => void };

/** A member name that was met in one kind of object. */
export interface Field<Target, Cursor> {
  readonly name: string;
  /** Undefined for a member that is skipped. */
  readonly member: Member<Target, Cursor> | undefined;
  /**
   * The bytes of `"name":`: how many, and four at a time, the last four perhaps overlapping those before. Infinity for a name that
   * JSON has to escape, which then never matches.
   */
  readonly byteLength: number;
  readonly words: Int32Array;
  /** The field that came after this one the last time. */
  follower: Field<Target, Cursor> | undefined;
  /** Another field in the same slot of the table. */
  readonly next: Field<Target, Cursor> | undefined;
}

const slotCount = 128;
/** Clients choose the names of headers: of those that are skipped, so many are remembered. */
const maxSkipped = 64;
const maxNameChars = 60;
/** Names that stand in JSON as they are. */
const plainName = /^[ !#-[\]-~]*$/;

/** The length and the last character tell nearly all names of a log line apart. */
function slotOf(name: string): number {
  return (name.length + name.charCodeAt(name.length - 1) * 5) & (slotCount - 1);
}

/**
 * The members of one kind of object: those that are read, and names of others that were met before. The members of a log line
 * mostly come in the same order as in the line before, so each field knows which one came after it: comparing the bytes of that
 * name is faster than finding out which name it is.
 */
export class FieldTable<Target, Cursor> {
  /** Stands for the opening brace: its follower is the field that an object began with the last time. */
  readonly opening: Field<Target, Cursor> = fieldOf<Target, Cursor>('', undefined, undefined);
  readonly #slots = new Array<Field<Target, Cursor> | undefined>(slotCount).fill(undefined);
  #skipped = 0;

  constructor(members: Readonly<Record<string, Member<Target, Cursor>>>) {
    for (const [name, member] of Object.entries(members)) this.#add(name, member);
  }

  /** The field of a name; undefined if its member is skipped and not remembered. */
  field(name: string): Field<Target, Cursor> | undefined {
    let field = this.#slots[slotOf(name)];
    for (; field !== undefined; field = field.next) if (field.name === name) return field;
    if (this.#skipped >= maxSkipped || name.length > maxNameChars || !plainName.test(name)) return undefined;
    this.#skipped++;
    // A copy: a piece of a line would keep all the bytes that came with it in memory.
    return this.#add(Buffer.from(name).toString(), undefined);
  }

  #add(name: string, member: Member<Target, Cursor> | undefined): Field<Target, Cursor> {
    const slot = slotOf(name);
    return (this.#slots[slot] = fieldOf(name, member, this.#slots[slot]));
  }
}

function fieldOf<Target, Cursor>(
  name: string,
  member: Member<Target, Cursor> | undefined,
  next: Field<Target, Cursor> | undefined,
): Field<Target, Cursor> {
  const bytes = Buffer.from(`"${name}":`);
  const words: number[] = [];
  for (let at = 0; at + 4 < bytes.length; at += 4) words.push(bytes.readInt32LE(at));
  if (bytes.length >= 4) words.push(bytes.readInt32LE(bytes.length - 4));
  const byteLength = plainName.test(name) ? bytes.length : Infinity;
  return { name, member, byteLength, words: Int32Array.from(words), follower: undefined, next };
}

/** Whether `"name":` of the field stands in `view` at `at`. */
export function isFieldAt({ words, byteLength }: Field<never, never>, view: DataView, at: number): boolean {
  const last = words.length - 1;
  for (let index = 0, from = at; index < last; index++, from += 4)
    if (view.getInt32(from, true) !== words[index]) return false;
  return view.getInt32(at + byteLength - 4, true) === words[last];
}
