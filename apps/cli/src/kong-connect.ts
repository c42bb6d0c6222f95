import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import {
  applyConnectPlan,
  connectDeckYaml,
  describeConnectPlan,
  KongDeniedError,
  KongUnavailableError,
  planConnect,
  type ConnectPlan,
  type ConnectSettings,
  type KongPlugin,
} from '@tripline/kong';
import { UserError, type LoadedConfig } from '@tripline/runtime';
import { readOptions } from './options.ts';
import { createConfiguredAdmin } from './configured.ts';

/** `tripline kong connect`: what the tcp-log plugin in Kong should be, and with `--apply` makes it so. */
export async function kong(args: string[]): Promise<number> {
  const [what, ...rest] = args;
  if (what !== 'connect')
    throw new UserError(
      'There is: tripline kong connect [--host HOST] [--port PORT] [--tls [--sni NAME] [--verify]] [--apply].',
    );
  const { values, loaded } = readOptions(rest, {
    apply: { type: 'boolean', default: false },
    host: { type: 'string' },
    port: { type: 'string' },
    tls: { type: 'boolean', default: false },
    sni: { type: 'string' },
    verify: { type: 'boolean', default: false },
  });
  const admin = createConfiguredAdmin(loaded);
  if (!admin) {
    throw new UserError(
      'No Admin API is configured. Set kong.adminUrl in tripline.json, or TRIPLINE_KONG__ADMIN_URL=http://localhost:8001.',
    );
  }
  const settings = settingsOf(loaded, values);
  const say = (text: string): boolean => process.stdout.write(text);
  try {
    const canVerify = settings.tls && (await admin.pluginFields('tcp-log'))?.includes('ssl_verify') === true;
    if (settings.verify && !canVerify) {
      throw new UserError(
        '--verify: the tcp-log plugin of this Kong cannot verify certificates (its schema has no ssl_verify; Kong 3.13 and ' +
          'later have it), or its schema (GET /schemas/plugins/tcp-log) may not be read.',
      );
    }
    const plan = planFor(settings, await admin.plugins());
    say(describeConnectPlan(plan));
    if (canVerify && !settings.verify) say(verifyOffer);
    say(whatElse(loaded));
    const isHttpLog = plan.kind === 'http-log' || ('existing' in plan && plan.existing.name === 'http-log');
    if (!isHttpLog) say(`\nThe same for decK:\n\n${connectDeckYaml(settings)}\n`);
    if (plan.kind === 'ambiguous' || plan.kind === 'occupied') return 1;
    if (plan.kind === 'http-log') return plan.lacks.length === 0 ? 0 : 1;
    if (plan.kind === 'nothing') return 0;
    if (!values.apply) {
      say('Nothing was changed. Run it again with --apply to do it.\n');
      return 0;
    }
    const outcome = await applyConnectPlan(admin, plan);
    if (outcome.kind === 'done' || outcome.kind === 'unchanged') {
      say('Done. It takes effect within about 5 s; tripline doctor tells whether lines arrive.\n');
      return 0;
    }
    say(`Not done: ${outcome.problem}\n`);
    return 1;
  } catch (error) {
    if (!(error instanceof KongUnavailableError) && !(error instanceof KongDeniedError)) throw error;
    process.stderr.write(`${error.message}\n`);
    return 1;
  } finally {
    await admin.close();
  }
}

const verifyOffer = `
This Kong can verify the collector's certificate (config.ssl_verify): add --verify, and --sni NAME if the certificate is for
another name than --host. Kong must trust its authority: lua_ssl_trusted_certificate in kong.conf. Else no line arrives.
`;

/** Settings that cannot work are the user's to mend: told without a stack. */
function planFor(settings: ConnectSettings, plugins: KongPlugin[]): ConnectPlan {
  try {
    return planConnect(settings, plugins);
  } catch (error) {
    throw new UserError((error as Error).message);
  }
}

function settingsOf(
  loaded: LoadedConfig,
  values: { host?: string; port?: string; tls?: boolean; sni?: string; verify?: boolean },
): ConnectSettings {
  const { collector, kong: kongConfig } = loaded.config;
  if (values.tls === true && !collector.tls) {
    throw new UserError(
      '--tls: the collector has no certificate; set collector.tls.certFile and keyFile first.',
    );
  }
  if (values.tls !== true && (values.sni !== undefined || values.verify === true)) {
    throw new UserError('--sni and --verify are about the TLS connection of tcp-log: give --tls, too.');
  }
  const port = values.port ?? String((values.tls ? collector.tls?.port : collector.port) ?? 9600);
  if (!/^[0-9]{1,5}$/.test(port))
    throw new UserError(`--port: "${port}" is not allowed; a number from 1 to 65535.`);
  const claim = bearerClaimOf(loaded.config);
  return {
    collectorHost: values.host ?? hostname(),
    collectorPort: Number(port),
    tls: values.tls === true,
    ...(values.sni === undefined ? {} : { tlsSni: values.sni }),
    ...(values.verify === true ? { verify: true } : {}),
    ...(collector.http === undefined ? {} : { httpPort: collector.http.port }),
    ...(collector.token === undefined ? {} : { token: collector.token }),
    ...(kongConfig.fingerprintKey === undefined ? {} : { fingerprintKey: kongConfig.fingerprintKey }),
    ...(claim === undefined ? {} : { claim }),
    ...(kongConfig.workspace === undefined ? {} : { workspace: kongConfig.workspace }),
  };
}

/** The claim of the bearer token that says who calls, for Kong to compute its fingerprint: it hides the token from its lines. */
function bearerClaimOf({ services, kong: { fingerprintKey } }: LoadedConfig['config']): string | undefined {
  const declared = services.find(
    ({ identity }) =>
      identity?.claim !== undefined && !identity.header && !identity.cookie && !identity.query,
  );
  if (declared && fingerprintKey === undefined)
    throw new UserError(
      `services: ${declared.name} declares the claim ${declared.identity!.claim!} of the bearer token, of which Kong can only ` +
        'compute a fingerprint. Set kong.fingerprintKey in tripline.json, 16 characters or more made for this only.',
    );
  return declared?.identity?.claim;
}

/** The custom fields that are not in use yet, ready to be pasted. */
function whatElse(loaded: LoadedConfig): string {
  const { collector, kong: kongConfig } = loaded.config;
  const fresh = (): string => randomBytes(24).toString('base64url');
  const offers: string[] = [];
  if (collector.token === undefined) {
    offers.push(
      `  "collector": { "token": "${fresh()}" }\n      a shared token in every line: forged lines are refused`,
    );
  }
  if (kongConfig.fingerprintKey === undefined) {
    offers.push(
      `  "kong": { "fingerprintKey": "${fresh()}" }\n      keyed fingerprints of the Authorization header and of the basic-auth user, computed in Kong:\n      failed logins can be told apart, and no secret leaves Kong`,
    );
  }
  if (offers.length === 0) return '';
  return `\nNot in use, and worth it. Put into tripline.json (these values are made for you just now), then run this again:\n${offers.join('\n')}\n`;
}
