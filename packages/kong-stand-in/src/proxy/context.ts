import type { Entity } from '../store.ts';
import type { Headers, Query, StandInRequest } from './request.ts';

/** A request on its way through the plugins, which write here what they find out. */
export interface Context {
  request: StandInRequest;
  startedAt: number;
  path: string;
  query: Query;
  headers: Headers;
  route: Entity;
  service: Entity | undefined;
  consumer: Entity | undefined;
  credential: Entity | undefined;
  /** Headers that plugins add to the answer. */
  added: Record<string, string>;
  correlationId: string | undefined;
}
