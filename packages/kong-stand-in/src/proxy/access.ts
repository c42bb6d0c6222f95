import { BlockList, isIPv6 } from 'node:net';
import type { Values } from '../schema.ts';
import { passwordHash, type Entity, type Store } from '../store.ts';
import type { TcpLogConfig } from '../tcp-log.ts';
import type { Context } from './context.ts';
import { errorExit, type ErrorExit, type Exit } from './exit.ts';
import { RateLimits } from './rate-limits.ts';

export interface AccessOptions {
  store: Store;
  newId: () => string;
  /** The plugins that the traffic sees. */
  plugins: () => readonly Entity[];
}

/** The plugins that run before the request reaches its service. */
export class AccessPhase {
  readonly #options: AccessOptions;
  readonly #limits = new RateLimits();

  constructor(options: AccessOptions) {
    this.#options = options;
  }

  /** Kong's access phase, plugins by priority; the first answer ends it. */
  run(context: Context, requestId: string): Exit {
    this.#correlationId(context);
    const error = (status: number, message: string, headers: Record<string, string> = {}): Exit => {
      const exit = errorExit(status, message, context.headers, requestId);
      return { ...exit, headers: { ...exit.headers, ...headers } };
    };
    return (
      this.#keyAuth(context, error) ??
      this.#basicAuth(context, error) ??
      this.#ipRestriction(context, error) ??
      this.#rateLimiting(context, error) ??
      this.#requestTermination(context)
    );
  }

  /** The tcp-log plugin that applies; without a context, where no route matched, only a global one does. */
  tcpLog(context: Context | undefined): TcpLogConfig | undefined {
    return this.#plugin('tcp-log', context)?.['config'] as TcpLogConfig | undefined;
  }

  #correlationId(context: Context): void {
    const config = this.#config('correlation-id', context);
    if (!config) return;
    const name = String(config['header_name']).toLowerCase();
    const given = context.headers[name];
    const id = typeof given === 'string' && given !== '' ? given : this.#options.newId();
    context.headers[name] = id;
    context.correlationId = id;
    if (config['echo_downstream']) context.added[name] = id;
  }

  #keyAuth(context: Context, error: ErrorExit): Exit {
    const config = this.#config('key-auth', context);
    if (!config || context.credential) return undefined;
    const found = (config['key_names'] as string[]).flatMap((name) => {
      const inHeader = config['key_in_header'] ? context.headers[name.toLowerCase()] : undefined;
      const inQuery = config['key_in_query'] ? context.query[name] : undefined;
      return [inHeader ?? inQuery].filter((value) => value !== undefined);
    });
    const duplicate =
      Array.isArray(found[0]) || (config['key_names'] as string[]).some((name) => both(context, name));
    const credential = this.#options.store.findBy('keyauth_credentials', 'key', found[0]);
    if (credential && !duplicate) {
      this.#authenticated(context, credential, credential.id);
      return undefined;
    }
    if (this.#anonymous(context, config)) return undefined;
    const realm = typeof config['realm'] === 'string' ? ` realm="${config['realm']}"` : '';
    const message = duplicate
      ? 'Duplicate API key found'
      : found[0]
        ? 'Unauthorized'
        : 'No API key found in request';
    return error(401, message, { 'www-authenticate': `Key${realm}` });
  }

  #basicAuth(context: Context, error: ErrorExit): Exit {
    const config = this.#config('basic-auth', context);
    if (!config || context.credential) return undefined;
    const header = context.headers['authorization'];
    const encoded = typeof header === 'string' ? /^\s*[Bb]asic\s+(.+)$/.exec(header)?.[1] : undefined;
    const [, user, password] =
      /^([^:]*):([\s\S]*)$/.exec(Buffer.from(encoded ?? '', 'base64').toString()) ?? [];
    const credential = this.#options.store.findBy('basicauth_credentials', 'username', user);
    const owner = credential?.['consumer'] as { id: string } | undefined;
    if (credential && owner && passwordHash(password ?? '', owner.id) === credential['password']) {
      this.#authenticated(context, credential, user ?? '');
      return undefined;
    }
    if (this.#anonymous(context, config)) return undefined;
    const realm = typeof config['realm'] === 'string' ? ` realm="${config['realm']}"` : '';
    return error(401, 'Unauthorized', { 'www-authenticate': `Basic${realm}` });
  }

  #authenticated(context: Context, credential: Entity, identifier: string): void {
    const consumer = this.#options.store.get('consumers', (credential['consumer'] as { id: string }).id);
    context.credential = credential;
    context.consumer = consumer;
    this.#consumerHeaders(context);
    context.headers['x-credential-identifier'] = identifier;
    delete context.headers['x-anonymous-consumer'];
  }

  #anonymous(context: Context, config: Values): boolean {
    const name = config['anonymous'];
    const consumer = typeof name === 'string' ? this.#options.store.find('consumers', name) : undefined;
    if (!consumer) return false;
    context.consumer = consumer;
    this.#consumerHeaders(context);
    delete context.headers['x-credential-identifier'];
    context.headers['x-anonymous-consumer'] = 'true';
    return true;
  }

  #consumerHeaders(context: Context): void {
    const names = { id: 'x-consumer-id', custom_id: 'x-consumer-custom-id', username: 'x-consumer-username' };
    for (const [field, header] of Object.entries(names)) {
      const value = context.consumer?.[field];
      if (typeof value === 'string') context.headers[header] = value;
      else Reflect.deleteProperty(context.headers, header);
    }
  }

  #ipRestriction(context: Context, error: ErrorExit): Exit {
    const config = this.#config('ip-restriction', context);
    if (!config) return undefined;
    const { clientIp } = context.request;
    const lists = (name: string): boolean => isListed(config[name] as string[] | null, clientIp);
    const allowed = (config['allow'] as string[] | null)?.length ? lists('allow') : true;
    if (allowed && !lists('deny')) return undefined;
    const message = (config['message'] as string | null) ?? `IP address not allowed: ${clientIp}`;
    return error((config['status'] as number | null) ?? 403, message);
  }

  #rateLimiting(context: Context, error: ErrorExit): Exit {
    const plugin = this.#plugin('rate-limiting', context);
    return plugin && this.#limits.check(plugin, context, error);
  }

  #requestTermination(context: Context): Exit {
    const config = this.#config('request-termination', context);
    if (!config) return undefined;
    const trigger = config['trigger'] as string | null;
    if (
      trigger !== null &&
      context.headers[trigger.toLowerCase()] === undefined &&
      !(trigger in context.query)
    ) {
      return undefined;
    }
    const status = config['status_code'] as number;
    if (config['body'] !== null) {
      const type = (config['content_type'] as string | null) ?? 'application/json; charset=utf-8';
      // nginx adds the character set to plain HTML.
      const contentType = type === 'text/html' ? 'text/html; charset=UTF-8' : type;
      return { status, headers: { 'content-type': contentType }, body: config['body'] as string };
    }
    const message = (config['message'] as string | null) ?? defaultMessage[status];
    const body = JSON.stringify(message === undefined ? {} : { message });
    return { status, headers: { 'content-type': 'application/json; charset=utf-8' }, body };
  }

  /** The plugin of this name that applies: the one with the most specific scope. */
  #plugin(name: string, context: Context | undefined): Entity | undefined {
    const consumer = context?.consumer?.id;
    const route = context?.route.id;
    const service = context?.service?.id;
    let best: Entity | undefined;
    let bestRank = -1;
    for (const plugin of this.#options.plugins()) {
      if (plugin['name'] !== name || plugin['enabled'] !== true) continue;
      const fits = (field: string, id: string | undefined): boolean => {
        const key = plugin[field] as { id: string } | null;
        return key === null || key.id === id;
      };
      if (!fits('consumer', consumer) || !fits('route', route) || !fits('service', service)) continue;
      const scope = (['consumer', 'route', 'service'] as const)
        .map((field) => (plugin[field] ? field[0] : ''))
        .join('');
      const rank = precedence.indexOf(scope);
      if (rank > bestRank) [best, bestRank] = [plugin, rank];
    }
    return best;
  }

  #config(name: string, context: Context): Values | undefined {
    return this.#plugin(name, context)?.['config'] as Values | undefined;
  }
}

/** Kong's order of scopes, least specific first: c(onsumer), r(oute), s(ervice). */
const precedence = ['', 's', 'r', 'c', 'rs', 'cs', 'cr', 'crs'];

const defaultMessage: Record<number, string> = {
  401: 'Unauthorized',
  404: 'Not found',
  405: 'Method not allowed',
  500: 'An unexpected error occurred',
  502: 'Bad gateway',
  503: 'Service unavailable',
};

const both = (context: Context, name: string): boolean =>
  context.headers[name.toLowerCase()] !== undefined && context.query[name] !== undefined;

function isListed(networks: string[] | null, ip: string): boolean {
  if (!networks || networks.length === 0) return false;
  const list = new BlockList();
  for (const network of networks) {
    const [address = '', bits] = network.split('/');
    const family = isIPv6(address) ? 'ipv6' : 'ipv4';
    if (bits === undefined) list.addAddress(address, family);
    else list.addSubnet(address, Number(bits), family);
  }
  return list.check(ip, isIPv6(ip) ? 'ipv6' : 'ipv4');
}
