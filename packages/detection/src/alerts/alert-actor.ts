import type { AlertActor, ApiCall } from '@tripline/model';
import type { ByteReader } from '../codec/byte-reader.ts';
import type { ByteWriter } from '../codec/byte-writer.ts';

/** The actor of a call as an alert names it. */
export function alertActor(call: ApiCall): AlertActor {
  return {
    kind: call.actorKind,
    id: call.actorId,
    name: call.actorName,
    ...(call.consumerUsername === undefined ? {} : { username: call.consumerUsername }),
    ...(call.consumerCustomId === undefined ? {} : { customId: call.consumerCustomId }),
    ...(call.consumerTags === undefined ? {} : { tags: call.consumerTags }),
  };
}

const KINDS: readonly AlertActor['kind'][] = ['consumer', 'credential', 'address', 'endpoint', 'campaign'];

export function encodeAlertActor(actor: AlertActor, writer: ByteWriter): void {
  writer.uint(KINDS.indexOf(actor.kind));
  writer.text(actor.id);
  writer.text(actor.name);
  writer.optionalText(actor.username);
  writer.optionalText(actor.customId);
  writer.boolean(actor.tags !== undefined);
  if (actor.tags) writer.texts(actor.tags);
}

export function decodeAlertActor(reader: ByteReader): AlertActor {
  const kind = KINDS[reader.uint()];
  if (kind === undefined) throw new Error('the state has an unknown kind of actor');
  const actor: AlertActor = { kind, id: reader.text(), name: reader.text() };
  const username = reader.optionalText();
  const customId = reader.optionalText();
  const tags = reader.boolean() ? reader.texts() : undefined;
  // In the order of `alertActor`, so that an alert is the same text as before its state was written.
  if (username !== undefined) actor.username = username;
  if (customId !== undefined) actor.customId = customId;
  if (tags !== undefined) actor.tags = tags;
  return actor;
}
