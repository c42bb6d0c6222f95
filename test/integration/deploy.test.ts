import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { forgeryProblems } from '@tripline/app-responder';
import { connectDeckYaml } from '@tripline/kong';
import { parsePolicies } from '@tripline/policy';
import { configJsonSchema, loadConfig } from '@tripline/runtime';
import { describe, expect, it } from 'vitest';
import { parse, parseAllDocuments } from 'yaml';
import { z } from 'zod';

/*
 * What operators deploy with, held against the code: a key that was renamed, or a metric that went, fails here and not on
 * somebody's cluster.
 */

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (path: string): string => readFileSync(join(root, path), 'utf8');

function filesUnder(folder: string, wanted: RegExp): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true, recursive: true })
    .filter(
      (entry) => entry.isFile() && !entry.parentPath.includes('node_modules') && wanted.test(entry.name),
    )
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length))
    .sort();
}

interface JsonSchema {
  properties?: Record<string, JsonSchema>;
}

/** Whether the configuration has a key; names are compared as `loadConfig` compares those of the environment. */
function hasKey(steps: string[]): boolean {
  const plain = (name: string): string => name.replaceAll('_', '').toLowerCase();
  let at: JsonSchema | undefined = configJsonSchema();
  for (const step of steps) {
    const found: [string, JsonSchema] | undefined = Object.entries(at?.properties ?? {}).find(
      ([name]) => plain(name) === plain(step),
    );
    at = found?.[1];
  }
  return at !== undefined;
}

/** Loads the configuration that these variables, and this `tripline.json`, give. */
function load(env: Record<string, string>, file?: unknown): ReturnType<typeof loadConfig> {
  const cwd = mkdtempSync(join(tmpdir(), 'tripline-deploy-'));
  try {
    if (file !== undefined) writeFileSync(join(cwd, 'tripline.json'), JSON.stringify(file));
    return loadConfig({ env: { ...env, TRIPLINE_CONFIG: undefined }, cwd });
  } finally {
    rmSync(cwd, { recursive: true });
  }
}

interface ComposeService {
  image: string;
  command?: string[];
  environment?: Record<string, string>;
  ports?: string[];
  depends_on?: Record<string, unknown>;
}

/** Services of docker-compose.yml, merged as YAML says, with the defaults of its variables. */
function composeServices(): [string, ComposeService][] {
  const text = read('docker-compose.yml').replaceAll(/\$\{[A-Z_]+:-([^}]*)\}/g, '$1');
  const compose = parse(text, { merge: true }) as { services: Record<string, ComposeService> };
  return Object.entries(compose.services);
}

const deployFiles = [
  'docker-compose.yml',
  ...filesUnder('deploy', /\.(ya?ml|tpl|service|md|mjs)$|^Dockerfile$/),
];

describe('the configuration that is deployed', () => {
  it('names keys that exist, in every environment variable of compose, image, chart and units', () => {
    const unknown = deployFiles.flatMap((file) =>
      [...read(file).matchAll(/(?<![A-Z_])TRIPLINE_([A-Z0-9_]*[A-Z0-9])/g)]
        .map(([name, path]) => ({ file, name, path: path! }))
        .filter(({ name }) => name !== 'TRIPLINE_CONFIG')
        // A variable that Kubernetes would set, named in a comment.
        .filter(({ name }) => name !== 'TRIPLINE_COLLECTOR_PORT')
        .filter(({ path }) => !hasKey(path.split('__'))),
    );
    expect(unknown).toEqual([]);
    expect(hasKey(['STATE', 'REDIS', 'PASSWORD'])).toBe(true);
    expect(hasKey(['STATE', 'REDIS', 'PASSWORT'])).toBe(false);
  });

  it('names keys that exist, wherever guide and alerts tell people what to set', () => {
    const sections = Object.keys((configJsonSchema() as JsonSchema).properties!).join('|');
    const keys = new RegExp(`(?<![\\w./-])(?:${sections})(?:\\.[a-z][A-Za-z]+)+`, 'g');
    const named = ['docs/distributed.md', 'deploy/prometheus/alerts.yml'].flatMap(
      (file) => read(file).match(keys) ?? [],
    );
    expect(named.filter((key) => !hasKey(key.split('.')))).toEqual([]);
    expect(named).toContain('bus.kafka.partitions');
  });

  it('is valid for every role of docker-compose.yml', () => {
    const ours = composeServices().filter(([, service]) => service.command?.[0]?.startsWith('/') === false);
    const roles = ours.filter(([, { environment }]) =>
      Object.keys(environment ?? {}).some((name) => name.startsWith('TRIPLINE_')),
    );
    expect(roles.map(([name]) => name)).toEqual(
      expect.arrayContaining(['collector', 'processor', 'archiver', 'responder', 'kong-connect']),
    );
    for (const [, { environment }] of roles) load(environment!);
  });

  it('lets the responder of docker-compose.yml block, since its collector asks for a token', () => {
    const { collector, responder } = Object.fromEntries(composeServices());
    const text = read('deploy/compose/policies.json');
    const parsed = parsePolicies(text);
    const problems = (environment: Record<string, string>): number =>
      forgeryProblems(
        text,
        parsed.ok ? parsed.policies : { policies: [] },
        load(environment).config.collector,
      ).length;
    expect(problems(responder!.environment!)).toBe(0);
    const { TRIPLINE_COLLECTOR__TOKEN: token, ...without } = responder!.environment!;
    expect(problems(without)).toBe(1);
    expect(token).toBe(collector!.environment!.TRIPLINE_COLLECTOR__TOKEN);
  });

  it('is valid for the default values of the chart, with every secret in use', () => {
    const values = parse(read('deploy/helm/tripline/values.yaml')) as { config: unknown };
    const secretEnv = /define "tripline\.secretEnv" -}}\n([^]*?){{- end }}/.exec(
      read('deploy/helm/tripline/templates/_helpers.tpl'),
    )![1]!;
    const secrets = Object.keys(parse(secretEnv) as Record<string, unknown>);
    const env = Object.fromEntries(secrets.map((name) => [name, 'a-value-that-is-long-enough']));
    env.TRIPLINE_BUS__KAFKA__SASL__MECHANISM = 'scram-sha-512';
    env.TRIPLINE_WEBHOOKS = '[{"id":"on-call","url":"https://example.com/","secret":"0123456789abcdef"}]';
    const { config } = load(env, values.config);
    expect(config.bus.kafka?.sasl?.password).toBe('a-value-that-is-long-enough');
    expect(config.lake.clickhouse?.password).toBe('a-value-that-is-long-enough');
    expect(config.webhooks).toHaveLength(1);
  });

  it('is valid for the default values of the systemd units', () => {
    const units = filesUnder('deploy/systemd', /\.service$/);
    expect(units).toHaveLength(5);
    for (const unit of units) {
      const env = [...read(unit).matchAll(/^Environment=(TRIPLINE_\w+)=(.*)$/gm)].map(([, name, value]) => [
        name!,
        value!,
      ]);
      expect(env.length, unit).toBeGreaterThan(1);
      load(Object.fromEntries(env) as Record<string, string>);
    }
  });
});

describe('docker-compose.yml', () => {
  it('opens no port beyond this machine', () => {
    const ports = composeServices().flatMap(([, { ports }]) => ports ?? []);
    expect(ports.length).toBeGreaterThan(0);
    expect(ports.filter((port) => !port.startsWith('127.0.0.1:'))).toEqual([]);
  });

  it('waits only for services that are there', () => {
    const services = composeServices();
    const names = services.map(([name]) => name);
    for (const [, { depends_on }] of services)
      expect(names).toEqual(expect.arrayContaining(Object.keys(depends_on ?? {})));
  });

  it('has policies without mistakes', () => {
    expect(parsePolicies(read('deploy/compose/policies.json'))).toMatchObject({ ok: true });
  });
});

describe('the chart', () => {
  const values = parse(read('deploy/helm/tripline/values.yaml')) as Record<string, Record<string, unknown>>;
  const schema = z.fromJSONSchema(
    JSON.parse(read('deploy/helm/tripline/values.schema.json')) as Parameters<typeof z.fromJSONSchema>[0],
  );

  it('has default values that its schema takes, and refuses what it does not know', () => {
    expect(schema.safeParse(values).error).toBeUndefined();
    for (const section of ['image', 'secrets', 'collector', 'processor', 'responder', 'networkPolicy']) {
      const misspelt = { ...values, [section]: { ...values[section], replica: 3 } };
      expect(schema.safeParse(misspelt).success, section).toBe(false);
    }
  });

  it('uses no value that it does not have', () => {
    const templates = filesUnder('deploy/helm/tripline/templates', /\.(yaml|tpl|txt)$/)
      .map(read)
      .join('\n');
    const used = new Set([...templates.matchAll(/[.$][vV]alues\.([\w.]+)/g)].map(([, path]) => path!));
    const missing = [...used].filter((path) => {
      let at: unknown = values;
      for (const step of path.split('.')) at = (at as Record<string, unknown> | undefined)?.[step];
      return at === undefined;
    });
    expect(missing).toEqual([]);
    expect(used.size).toBeGreaterThan(15);
  });

  it('holds no secret, only names of secrets', () => {
    for (const secret of Object.values(values.secrets!))
      expect(Object.keys(secret as object)).toEqual(['name', 'key']);
  });
});

describe('the decK files', () => {
  interface Deck {
    plugins: { config: { custom_fields_by_lua: Record<string, string> } }[];
  }
  const tcpLog = parse(read('deploy/kong/tcp-log.yaml')) as Deck;

  it('make the plugin that `tripline kong connect` makes', () => {
    const settings = { collectorHost: 'collector.example.com', collectorPort: 9600, tls: false };
    const made = connectDeckYaml({ ...settings, token: 'in-use', fingerprintKey: 'in-use' });
    expect(tcpLog).toEqual(parse(made));
  });

  it('compute the same fields for http-log as for tcp-log', () => {
    const httpLog = parse(read('deploy/kong/http-log.yaml')) as Deck;
    expect(httpLog.plugins[0]!.config.custom_fields_by_lua).toEqual(
      tcpLog.plugins[0]!.config.custom_fields_by_lua,
    );
  });
});

describe('alerts and dashboard', () => {
  // Both roles of the processor give the metrics that they share their own name.
  const ofWorkers = ['processor', 'aggregates'].flatMap((name) => {
    const own = [...read(`apps/processor/src/${name}.ts`).matchAll(/(?:counter|gauge)\(\s*'([a-z_]+)'/g)];
    const shared = [
      ...read('apps/processor/src/worker-role.ts').matchAll(/`tripline_\$\{name\}_([a-z_]+)`/g),
    ];
    return [...own, ...shared].map(([, metric]) => `tripline_${name}_${metric!}`);
  });
  const ofCollector = [...read('apps/collector/src/intake-metrics.ts').matchAll(/\[\s*'([a-z_]+)'/g)].map(
    ([, metric]) => `tripline_collector_${metric!}`,
  );
  const registered = new Set([
    ...ofWorkers,
    ...ofCollector,
    ...['tripline_role_alive', 'tripline_role_ready'],
    ...[...filesUnder('apps', /(?<!\.test)\.ts$/), ...filesUnder('packages', /(?<!\.test)\.ts$/)].flatMap(
      (file) => [...read(file).matchAll(/'(tripline_[a-z0-9_]+)'/g)].map(([, name]) => name!),
    ),
  ]);
  const metric = /\btripline_[a-z0-9_]+/g;
  const isKnown = (name: string): boolean =>
    registered.has(name) || registered.has(name.replace(/_(bucket|count|sum)$/, ''));

  it.each(['deploy/prometheus/alerts.yml', 'deploy/grafana/tripline.json', 'docs/distributed.md'])(
    'of %s look at metrics that exist',
    (file) => {
      const used = new Set(read(file).match(metric));
      expect([...used].filter((name) => !isKnown(name))).toEqual([]);
      expect(used.size).toBeGreaterThan(5);
    },
  );

  it('tell what to do with every alert', () => {
    interface Rules {
      groups: { rules: { alert: string; annotations?: Record<string, string> }[] }[];
    }
    const rules = (parse(read('deploy/prometheus/alerts.yml')) as Rules).groups.flatMap(
      (group) => group.rules,
    );
    expect(rules.length).toBeGreaterThan(15);
    for (const { alert, annotations } of rules)
      expect(Object.keys(annotations ?? {}).sort(), alert).toEqual(['action', 'summary']);
  });
});

it('all YAML files here parse', () => {
  const files = ['docker-compose.yml', ...filesUnder('deploy', /\.ya?ml$/)].filter(
    (file) => !file.includes('/templates/'),
  );
  for (const file of files)
    expect(
      parseAllDocuments(read(file), { merge: true }).flatMap((document) => document.errors),
      file,
    ).toEqual([]);
});
