import { join } from 'node:path';
import {
  createChannels,
  proxyFromEnvironment,
  type Channels,
  type ProxySettings,
} from '@tripline/app-responder';
import {
  createDetection,
  createEndpointDetection,
  detectionConfigSchema,
  type Detection,
  type EndpointDetection,
} from '@tripline/detection';
import { createKongAdmin, createNormaliser, type KongClient, type NormaliserOptions } from '@tripline/kong';
import { loadTokenKey, resolvePath, UserError, type Config, type LoadedConfig } from '@tripline/runtime';
import { createSanitizer, type Sanitizer } from '@tripline/sanitize';
import { readNamed } from './backends.ts';

/** A sanitiser with the key of the configuration, which is made in the data directory if none is named. */
export function createConfiguredSanitizer(loaded: LoadedConfig, dataDir: string): Sanitizer {
  const { keyFile, secretNames, secretPatterns } = loaded.config.sanitize;
  const path = keyFile === undefined ? join(dataDir, 'token.key') : resolvePath(loaded, keyFile);
  return createSanitizer({ key: loadTokenKey(path, keyFile === undefined), secretNames, secretPatterns });
}

/** A normaliser with the settings of the configuration; `parts` are its sanitiser, learnt paths and places. */
export function createConfiguredNormaliser(
  config: Config,
  parts: Pick<NormaliserOptions, 'sanitizer' | 'templates' | 'served' | 'verifying' | 'locate'>,
): ReturnType<typeof createNormaliser> {
  const { token, maxDepth, maxAheadMs, keepHeaders, credentialNames } = config.collector;
  return createNormaliser({
    ...parts,
    ...{ maxDepth, maxAheadMs, keepHeaders, credentialNames },
    services: config.services,
    ...(token === undefined ? {} : { token }),
  });
}

/** `onRelearn` gets what part of the actors' states cannot be read and is learnt anew, each problem once. */
export function createConfiguredDetection(
  config: Config,
  onRelearn: (part: string, problem: string) => void = () => undefined,
): { detection: Detection; endpointDetection: EndpointDetection } {
  const settings = detectionConfigSchema.parse(config.detectors);
  return {
    detection: createDetection(settings, { onRelearn }),
    endpointDetection: createEndpointDetection(settings),
  };
}

/** The Admin API client that the configuration asks for; undefined without `kong.adminUrl`. Throws a `UserError` if it is unusable. */
export function createConfiguredAdmin(loaded: LoadedConfig): KongClient | undefined {
  const { adminUrl, workspace, adminToken, adminHeaders, tls } = loaded.config.kong;
  if (adminUrl === undefined) return undefined;
  const pem = (key: string, file: string | undefined): string | undefined =>
    file === undefined ? undefined : readNamed(loaded, `kong.tls.${key}`, file).toString();
  const options = {
    url: adminUrl,
    ...defined({ workspace, token: adminToken, headers: adminHeaders }),
    ...(tls
      ? {
          tls: defined({
            ca: pem('caFile', tls.caFile),
            cert: pem('certFile', tls.certFile),
            key: pem('keyFile', tls.keyFile),
            serverName: tls.serverName,
            insecure: tls.insecure,
          }),
        }
      : {}),
  };
  try {
    return createKongAdmin(options);
  } catch (error) {
    // The TLS library names neither the certificate or key nor a reason that anybody would understand.
    const { message } = error as Error;
    throw new UserError(message.startsWith('kong.') ? message : `kong.tls: cannot be used: ${message}`);
  }
}

/** Without the members that are undefined, as optional properties want it. */
function defined<T extends object>(object: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}

/** The channels of the configuration; `sanitize` takes secrets out of what receivers answer. */
export function createConfiguredChannels(
  { webhooks }: Config,
  sanitize: (text: string) => string,
  now: () => number,
): Channels {
  const proxy = webhooks.length > 0 ? createConfiguredProxy(process.env) : undefined;
  const settings = webhooks.map((webhook) => ({ type: 'webhook', ...webhook }));
  return createChannels(settings, { now, proxy, sanitize });
}

/** The proxies of the environment, for webhooks. Throws a `UserError` that names the invalid variable. */
export function createConfiguredProxy(env: Record<string, string | undefined>): ProxySettings | undefined {
  try {
    return proxyFromEnvironment(env);
  } catch (error) {
    throw new UserError((error as Error).message);
  }
}
