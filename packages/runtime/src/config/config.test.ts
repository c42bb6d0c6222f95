import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { createSmallDisk } from '../../../../test/support/small-disk.ts';
import { configJsonSchema, configSchema, loadConfig } from './index.ts';
import { UserError } from '../errors.ts';
import { loadTokenKey } from '../token-key.ts';

const cwd = mkdtempSync(join(tmpdir(), 'tripline-config-'));
afterAll(() => rmSync(cwd, { recursive: true }));

function load(content: unknown, env: Record<string, string> = {}): ReturnType<typeof loadConfig> {
  const path = join(cwd, 'tripline.json');
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return loadConfig({ path, env, cwd });
}

function problemOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(UserError);
    return (error as Error).message;
  }
  throw new Error('nothing was refused');
}

describe('the configuration', () => {
  it('has a default for everything that must have a value', () => {
    const { config, file } = loadConfig({ env: {}, cwd: tmpdir() + '/nowhere' });
    expect(file).toBeUndefined();
    expect(config.collector).toMatchObject({ port: 9600, maxLineBytes: 1_048_576, allow: [] });
    expect(config.dataDir).toBe('./tripline-data');
  });

  it('takes what is declared about services, and says what is wrong with it', () => {
    const { services } = load({
      services: [
        { name: 'shop', identity: { header: 'x-client-id' } },
        {
          name: 'bank',
          identity: { claim: 'sub' },
          authEndpoints: [{ path: '/enter', failure: { statuses: [200] } }],
        },
      ],
    }).config;
    expect(services.map(({ name, authEndpoints }) => [name, authEndpoints.length])).toEqual([
      ['shop', 0],
      ['bank', 1],
    ]);
    const refused = (identity: object, ...more: object[]): string =>
      problemOf(() => load({ services: [{ name: 'shop', identity }, ...more] }));
    expect(refused({})).toMatch(/services\.0\.identity: one of header, cookie, query and claim is needed/);
    expect(refused({ header: 'a', cookie: 'b' })).toMatch(/only one of header, cookie and query/);
    expect(refused({ claim: "sub'" })).toMatch(/identity\.claim: allowed: 1 to 200 of/);
    expect(refused({ claim: 'sub' }, { name: 'bank', identity: { claim: 'uid' } })).toMatch(/only one claim/);
    expect(refused({ header: 'a' }, { name: 'shop' })).toMatch(/two services have the same name/);
  });

  it('reports all problems at once, each with its key, its value and what is allowed', () => {
    const problem = problemOf(() =>
      load({
        collector: { port: 99_999, maxDepth: 'deep' },
        lake: { retentionDays: 0 },
        kong: { adminUrl: 'ftp://x' },
        surprise: 1,
      }),
    );
    for (const key of [
      'collector.port',
      'collector.maxDepth',
      'lake.retentionDays',
      'kong.adminUrl',
      'surprise',
    ]) {
      expect(problem).toContain(key);
    }
    expect(problem).toContain('99999');
    expect(problem).toContain('5 problems');
  });

  it('never repeats a secret in a problem', () => {
    expect(problemOf(() => load({ collector: { token: 'short1' } }))).not.toContain('short1');
    expect(problemOf(() => load({ kong: { fingerprintKey: 'short2' } }))).not.toContain('short2');
    const redis = { url: 'http://tripline:hunter2@redis:6379', password: 'hunter2', surprise: 1 };
    expect(problemOf(() => load({ state: { redis } }))).not.toContain('hunter2');
    const clickhouse = { url: 'http://clickhouse:8123', password: 4711 };
    expect(problemOf(() => load({ lake: { clickhouse } }))).not.toContain('4711');
  });

  it('takes a password of digits from the environment as text', () => {
    const env = {
      TRIPLINE_STATE__REDIS__URL: 'redis://redis:6379',
      TRIPLINE_STATE__REDIS__PASSWORD: '12345',
      TRIPLINE_BUS__KAFKA__BROKERS: '["kafka:9092"]',
      TRIPLINE_BUS__KAFKA__SASL: '{"mechanism":"plain","username":"7","password":"8"}',
    };
    const { config } = load({}, env);
    expect(config.state.redis?.password).toBe('12345');
    expect(config.bus.kafka).toMatchObject({ brokers: ['kafka:9092'], partitions: 12, replicationFactor: 3 });
  });

  it('takes environment variables over the file, whatever way their words are parted', () => {
    const env = {
      TRIPLINE_COLLECTOR__PORT: '9700',
      TRIPLINE_COLLECTOR__MAX_LINE_BYTES: '5000',
      TRIPLINE_KONG__ADMIN_URL: 'http://kong:8001',
      TRIPLINE_COLLECTOR__ALLOW: '["10.0.0.0/8"]',
      TRIPLINE_LAKE__ENABLED: 'false',
      OTHER: 'x',
    };
    const { config } = load({ collector: { port: 9601, host: '127.0.0.1' } }, env);
    expect(config.collector).toMatchObject({
      port: 9700,
      host: '127.0.0.1',
      maxLineBytes: 5_000,
      allow: ['10.0.0.0/8'],
    });
    expect(config.kong.adminUrl).toBe('http://kong:8001');
    expect(config.lake.enabled).toBe(false);
  });

  it.each([
    ['TRIPLINE_COLLECTOR__PROT', 'TRIPLINE_COLLECTOR__PORT'],
    ['TRIPLINE_COLLECTOR_PORT', 'TRIPLINE_COLLECTOR__PORT'],
    ['TRIPLINE_ADMIN_URL', 'TRIPLINE_KONG__ADMIN_URL'],
    ['TRIPLINE_KONG__URL', 'TRIPLINE_KONG__ADMIN_URL'],
    ['TRIPLINE_REDIS_URL', 'TRIPLINE_STATE__REDIS__URL'],
    ['TRIPLINE_CONFIG_FILE', 'TRIPLINE_CONFIG'],
    ['TRIPLINE_WEBHOOK__URL', 'TRIPLINE_WEBHOOKS'],
  ])('refuses the variable %s, which names nothing, and says that there is %s', (wrong, right) => {
    expect(problemOf(() => loadConfig({ env: { [wrong]: 'x' }, cwd: join(cwd, 'empty') }))).toBe(
      `the environment has a problem:\n  ${wrong}: there is no such variable; the nearest known one is ${right}`,
    );
  });

  it('tells problems of the file from those of variables, each by the name that was written', () => {
    const env = {
      TRIPLINE_COLLECTOR__PORT: 'high',
      TRIPLINE_BUS__KAFKA: '{"brokers":["kafka:9092"],"partition":3}',
    };
    const problem = problemOf(() => load({ collector: { keepHeader: [] }, webhooks: [{ uri: 'x' }] }, env));
    expect(problem).toContain(`${join(cwd, 'tripline.json')} and the environment have`);
    for (const line of [
      /^ {2}TRIPLINE_COLLECTOR__PORT: .*number.* \(is "high"\)$/m,
      /^ {2}TRIPLINE_BUS__KAFKA: partition: .*nearest known one is bus\.kafka\.partitions$/m,
      /^ {2}collector\.keepHeader: .*nearest known one is collector\.keepHeaders$/m,
      /^ {2}webhooks\.0\.uri: .*nearest known one is webhooks\.\*\.url$/m,
    ])
      expect(problem).toMatch(line);
  });

  it('looks at the settings of the detectors as at its own, if it knows their schema', () => {
    const detector = z.strictObject({ enabled: z.boolean().default(true) }).prefault({});
    const detectors = z.strictObject({ requestSpike: detector, bruteForce: detector });
    const settings = (env: Record<string, string>) =>
      loadConfig({ env, cwd: join(cwd, 'empty'), detectors }).config.detectors;
    expect(settings({ TRIPLINE_DETECTORS__REQUEST_SPIKE__ENABLED: 'false' })).toEqual({
      requestSpike: { enabled: false },
      bruteForce: { enabled: true },
    });
    expect(problemOf(() => settings({ TRIPLINE_DETECTORS__SPIKE__ENABLED: 'false' }))).toContain(
      'TRIPLINE_DETECTORS__SPIKE__ENABLED: there is no such variable; ' +
        'the nearest known one is TRIPLINE_DETECTORS__REQUEST_SPIKE__ENABLED',
    );
    expect(problemOf(() => settings({ TRIPLINE_DETECTORS: '{"bruteForce":{"enable":true}}' }))).toContain(
      'TRIPLINE_DETECTORS: bruteForce.enable: there is no such key; ' +
        'the nearest known one is detectors.bruteForce.enabled',
    );
  });

  it('refuses what is no regular expression', () => {
    expect(problemOf(() => load({ sanitize: { secretPatterns: ['a+', '(('] } }))).toMatch(
      /a problem:\n {2}sanitize\.secretPatterns\.1: allowed: JavaScript regular expressions/,
    );
  });

  it('says which file is missing or is not JSON', () => {
    expect(problemOf(() => loadConfig({ path: 'gone.json', env: {}, cwd }))).toContain(
      join(cwd, 'gone.json'),
    );
    expect(problemOf(() => loadConfig({ path: '.', env: {}, cwd }))).toMatch(/cannot be read: EISDIR/);
    expect(problemOf(() => load('{ "collector": '))).toMatch(/tripline\.json is not valid JSON/);
  });

  it('takes one certificate, several, or both, and says what is missing', () => {
    const tls = (settings: object) => configSchema.safeParse({ collector: { tls: settings } });
    const files = { certFile: 'a.pem', keyFile: 'a.key' };
    for (const settings of [files, { certificates: [files] }, { ...files, certificates: [files, files] }])
      expect(tls(settings).success).toBe(true);
    expect(tls({}).error?.issues[0]?.message).toBe('certFile and keyFile are needed, or certificates');
    expect(tls({ certFile: 'a.pem' }).error?.issues[0]?.message).toBe('certFile and keyFile belong together');
    expect(tls({ certificates: [] }).success).toBe(false);
    const env = { TRIPLINE_COLLECTOR__TLS__CERT_FILE: 'b.pem', TRIPLINE_COLLECTOR__TLS__KEY_FILE: 'b.key' };
    expect(load('{}', env).config.collector.tls).toEqual({
      port: 9601,
      certFile: 'b.pem',
      keyFile: 'b.key',
    });
  });

  it('is described by the published schema, which is up to date', async () => {
    const path = fileURLToPath(new URL('../../tripline.schema.json', import.meta.url));
    await expect(`${JSON.stringify(configJsonSchema(), null, 2)}\n`).toMatchFileSnapshot(path);
    expect(configSchema.safeParse({ $schema: './x.json' }).success).toBe(true);
  });
});

describe('the token key', () => {
  it('is made once, readable by its owner only, and read again', () => {
    const path = join(cwd, 'keys', 'token.key');
    const key = loadTokenKey(path, true);
    expect(key.length).toBe(32);
    expect(statSync(path).mode & 0o077).toBe(0);
    expect(loadTokenKey(path, true).equals(key)).toBe(true);
    expect(readFileSync(path, 'utf8').trim()).toBe(key.toString('base64'));
  });

  it('is whole or not there: a disk without room leaves no half key, and it is made when there is room', () => {
    const disk = createSmallDisk(1 << 16);
    const path = join(disk.path, 'keys', 'token.key');
    try {
      disk.fill(process.pid, 1);
      expect(problemOf(() => loadTokenKey(path, true))).toMatch(
        /cannot be made at .*(ENOSPC|EFBIG).*sanitize\.keyFile/,
      );
      expect(existsSync(path)).toBe(false);
      disk.empty();
      expect(loadTokenKey(path, true).length).toBe(32);
      expect(readdirSync(join(disk.path, 'keys'))).toEqual(['token.key']);
    } finally {
      disk.empty();
      disk.dispose();
    }
  });

  it('is never made where the operator named a file that is not there, and too short a key is refused', () => {
    expect(problemOf(() => loadTokenKey(join(cwd, 'gone.key'), false))).toContain('openssl rand');
    const short = join(cwd, 'short.key');
    writeFileSync(short, Buffer.alloc(16).toString('base64'));
    expect(problemOf(() => loadTokenKey(short, false))).toMatch(/16 bytes, allowed: at least 32/);
  });
});
