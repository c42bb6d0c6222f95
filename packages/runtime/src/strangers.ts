import type { Config } from './config/index.ts';

/** Is this a name or address of this machine that no other machine can reach? */
export function isLoopbackHost(host: string): boolean {
  return /^(localhost|127\.\d+\.\d+\.\d+|::1|::ffff:127\.\d+\.\d+\.\d+)$/i.test(host);
}

/**
 * Does the collector take lines from anybody who reaches its ports, without the operator having said that this is meant?
 * Not if it asks for a token, takes connections from named networks only, or listens on a loopback address. A network of
 * prefix 0 is everybody.
 */
export function takesLinesFromStrangers(
  collector: Pick<Config['collector'], 'host' | 'token' | 'allow' | 'trustUnauthenticated'>,
): boolean {
  const { host, token, allow, trustUnauthenticated } = collector;
  if (token !== undefined || trustUnauthenticated || isLoopbackHost(host)) return false;
  return allow.length === 0 || allow.some((network) => /\/0+$/.test(network));
}
