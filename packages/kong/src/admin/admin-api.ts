/** A plugin as the Admin API gives and takes it; times are seconds since the epoch, unset fields null. */
export interface KongPlugin {
  id: string;
  name: string;
  instance_name: string | null;
  enabled: boolean;
  config: Record<string, unknown>;
  tags: string[] | null;
  consumer: { id: string } | null;
  service: { id: string } | null;
  route: { id: string } | null;
  /** Kong Enterprise only. */
  consumer_group?: { id: string } | null;
  protocols: string[];
  created_at: number;
  updated_at?: number;
}

/** What to write: everything that is left out becomes Kong's default, since PUT replaces the whole entity. */
export interface KongPluginInput {
  name: string;
  config: Record<string, unknown>;
  tags: string[];
  instance_name?: string;
  consumer?: { id: string };
  route?: { id: string };
  service?: { id: string };
  enabled?: boolean;
}

export interface KongConsumer {
  id: string;
  username: string | null;
  custom_id: string | null;
  tags: string[] | null;
}

export interface KongNode {
  version: string;
  /** `"off"` is DB-less: the Admin API cannot write. */
  database: string;
  hostname: string;
  availablePlugins: string[];
}

/**
 * How a write ended, as far as the caller must act differently:
 * `done`; `conflict`: a plugin that is not ours holds the place (409); `no-consumer`: the consumer is gone (400 foreign
 * key or 404); `read-only`: DB-less (405); `refused`: Kong will never take it as it is (other 4xx), `problem` says why.
 * What may pass by itself (unreachable, time-out, 5xx, 429) is thrown as `KongUnavailableError`.
 */
export type WriteOutcome =
  | { kind: 'done'; plugin: KongPlugin }
  | { kind: 'conflict' | 'no-consumer' | 'read-only' | 'refused'; problem: string };

/** Kong may or may not have done it: ask again later. */
export class KongUnavailableError extends Error {
  override name = 'KongUnavailableError';
}

/** The Admin API does not let us: 401 or 403. Retrying helps only after the operator acted. */
export class KongDeniedError extends Error {
  override name = 'KongDeniedError';
}

/** The part of Kong's Admin API that Tripline uses. Every call may throw the two errors above. */
export interface KongAdmin {
  node(): Promise<KongNode>;
  /** All plugins, over all pages; with `tag`, only those that carry it. */
  plugins(tag?: string): Promise<KongPlugin[]>;
  /** Undefined if there is none. By id or username. */
  consumer(idOrUsername: string): Promise<KongConsumer | undefined>;
  /** Creates or replaces the plugin with this uuid. Idempotent. */
  putPlugin(id: string, plugin: KongPluginInput): Promise<WriteOutcome>;
  /** Changes the given fields of an existing plugin (nested `config` is merged by Kong). */
  patchPlugin(id: string, change: Partial<KongPluginInput>): Promise<WriteOutcome>;
  /** Removes it; a plugin that is not there is no error. `read-only` on DB-less. */
  deletePlugin(id: string): Promise<{ kind: 'done' } | { kind: 'read-only' | 'refused'; problem: string }>;
  close(): Promise<void>;
}

/** Further questions to the Admin API that only the command line asks. */
export interface KongClient extends KongAdmin {
  /**
   * Names of the fields that the configuration of a plugin has in this version of Kong. Undefined if Kong does not know the
   * plugin, or does not let us see.
   */
  pluginFields(name: string): Promise<string[] | undefined>;
}

export interface KongAdminOptions {
  /** `http://localhost:8001`; a path prefix is kept. */
  url: string;
  /** Workspace (Enterprise): put before every path. Left out: none. */
  workspace?: string;
  /** Sent as `Kong-Admin-Token` (Enterprise RBAC). */
  token?: string;
  /** Further headers, e.g. for a proxy in front of the Admin API. */
  headers?: Record<string, string>;
  tls?: {
    /** PEM of the authorities to trust besides the system's. */
    ca?: string;
    /** PEM of a client certificate and its key. */
    cert?: string;
    key?: string;
    /** Name to expect in the certificate if it is not the URL's host. */
    serverName?: string;
    /** Accept any certificate. */
    insecure?: boolean;
  };
  /** Per request. Default 10,000. */
  timeoutMs?: number;
}
