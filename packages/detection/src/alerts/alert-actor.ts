import type { AlertActor, ApiCall } from '@tripline/model';

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
