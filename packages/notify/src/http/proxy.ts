import { BlockList, isIP } from 'node:net';

/** The proxies that lead out of this network, and the targets that are reached without them. */
export interface ProxySettings {
  /** For `http://` targets. */
  http: URL | undefined;
  /** For `https://` targets. */
  https: URL | undefined;
  /** The entries of `NO_PROXY`. */
  direct: readonly DirectTarget[];
}

type DirectTarget =
  | { kind: 'all' }
  | { kind: 'name'; name: string; port: string | undefined }
  | { kind: 'network'; network: BlockList };

/**
 * Reads `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` (lower case goes first) as other programs do:
 * a proxy is `http://[user:password@]host:port`, also with `https:` or without a scheme. `NO_PROXY` is a list, separated by
 * commas or spaces, of `*`, host names (which include the names below them), `host:port`, addresses and networks.
 * Returns undefined if there is no proxy. Throws an error with the variable's name, but not its value, which may hold a password.
 */
export function proxyFromEnvironment(env: Record<string, string | undefined>): ProxySettings | undefined {
  const http = proxyUrl(env, 'HTTP_PROXY');
  const https = proxyUrl(env, 'HTTPS_PROXY');
  if (!http && !https) return undefined;
  const direct = read(env, 'NO_PROXY')
    .split(/[\s,]+/)
    .filter((entry) => entry !== '')
    .map(directTarget);
  return { http, https, direct };
}

/** The proxy for this URL; undefined if it is reached directly. Loopback is always reached directly. */
export function proxyFor(url: URL, settings: ProxySettings | undefined): URL | undefined {
  const proxy = url.protocol === 'https:' ? settings?.https : settings?.http;
  if (!proxy) return undefined;
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1').replace(/\.$/, '');
  const port = url.port || (url.protocol === 'https:' ? '443' : '80');
  if (isLoopback(host)) return undefined;
  return settings!.direct.some((target) => matches(target, host, port)) ? undefined : proxy;
}

function read(env: Record<string, string | undefined>, name: string): string {
  return (env[name.toLowerCase()] ?? env[name] ?? '').trim();
}

function proxyUrl(env: Record<string, string | undefined>, name: string): URL | undefined {
  const text = read(env, name);
  if (text === '') return undefined;
  let url: URL | undefined;
  try {
    const given = new URL(text.includes('://') ? text : `http://${text}`);
    decodeURIComponent(given.username + given.password);
    url = given;
  } catch {
    // The same message for everything that is no proxy.
  }
  if (!url || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    throw new Error(
      `The environment variable ${name} is no proxy that can be used; allowed: http://host:port, also with https: or ` +
        'user:password@ (percent-encoded). Correct or unset it.',
    );
  }
  return url;
}

function directTarget(entry: string): DirectTarget {
  if (entry === '*') return { kind: 'all' };
  const [address = '', bits, ...more] = entry.split('/');
  const bare = address.replace(/^\[(.*)\]$/, '$1');
  const family = isIP(bare) === 6 ? 'ipv6' : 'ipv4';
  const longest = family === 'ipv6' ? 128 : 32;
  if (isIP(bare) !== 0 && more.length === 0 && /^\d{0,3}$/.test(bits ?? '')) {
    const network = new BlockList();
    network.addSubnet(bare, Math.min(bits === undefined ? longest : Number(bits), longest), family);
    return { kind: 'network', network };
  }
  const [, name = entry, port] = /^(.+?)(?::(\d+))?$/.exec(entry) ?? [];
  const plain = name
    .toLowerCase()
    .replace(/^\*?\./, '')
    .replace(/\.$/, '')
    .replace(/^\[(.*)\]$/, '$1');
  return { kind: 'name', name: plain, port };
}

function matches(target: DirectTarget, host: string, port: string): boolean {
  switch (target.kind) {
    case 'all':
      return true;
    case 'network':
      return isIP(host) !== 0 && target.network.check(host, isIP(host) === 6 ? 'ipv6' : 'ipv4');
    case 'name':
      if (target.port !== undefined && target.port !== port) return false;
      return host === target.name || host.endsWith(`.${target.name}`);
  }
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host.endsWith('.localhost') || host === '::1' || /^127\.[\d.]+$/.test(host);
}
