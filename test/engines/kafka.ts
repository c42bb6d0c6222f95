import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** The newest version that the suites run on; the oldest one is 3.9.1. */
export const newestKafka = '4.4.0';
export const oldestKafka = '3.9.1';

export interface KafkaOptions {
  /** Version of the broker. Default: `newestKafka`. */
  version?: string;
  /** Port of the plain listener. Default: a free one. */
  port?: number;
  /** Where data and log go. Default: a directory of its own under the system's temporary one. */
  dir?: string;
  /** A broker of the caller's own, which it may kill: not the one that TRIPLINE_TEST_KAFKA names. */
  own?: boolean;
  /**
   * Also a listener with TLS and SASL, and access control: `secured` says how to reach it. Only native (needs `keytool`,
   * which Java brings).
   */
  secured?: boolean;
}

export interface SecuredListener {
  broker: string;
  /** PEM of the certificate to trust. */
  ca: string;
  /** May do everything. */
  admin: { username: string; password: string };
  /** May do what ACLs allow: nothing at first. */
  other: { username: string; password: string };
}

export interface KafkaEngine {
  brokers: string[];
  version: string;
  secured: SecuredListener | undefined;
  /** Ends the broker in order; it can be started again by `restart`. */
  stop(): Promise<void>;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** Starts it again on the same port and data; stops it before if it runs. */
  restart(): Promise<void>;
  /** Stops it and removes its data. */
  dispose(): Promise<void>;
}

/** What a machine lacks for the suites on Kafka; undefined if nothing. */
export async function kafkaMissing(): Promise<string | undefined> {
  if (process.env.TRIPLINE_TEST_KAFKA !== undefined || (await dockerAnswers())) return undefined;
  for (const command of ['java', 'mvn']) {
    try {
      await run(command, ['-version']);
    } catch {
      return `Kafka for tests needs TRIPLINE_TEST_KAFKA=host:port, Docker, or Java 17 and Maven: there is no ${command}.`;
    }
  }
  return undefined;
}

/**
 * Starts a Kafka broker for tests: what TRIPLINE_TEST_KAFKA (host:port) names; else a container if Docker answers; else a
 * native one in KRaft mode, from the jars that Maven brings. Rejects with what is missing.
 */
export async function startKafka(options: KafkaOptions = {}): Promise<KafkaEngine> {
  const given = process.env.TRIPLINE_TEST_KAFKA;
  if (given !== undefined && !options.own && !options.secured) return givenKafka(given);
  const missing = await kafkaMissing();
  if (missing !== undefined) throw new Error(missing);
  if (!options.secured && (await dockerAnswers())) return containerKafka(options);
  return nativeKafka(options);
}

function givenKafka(broker: string): KafkaEngine {
  const not = (): Promise<never> =>
    Promise.reject(
      new Error('The broker of TRIPLINE_TEST_KAFKA is not the tests’ own: they leave it running.'),
    );
  return {
    brokers: [broker],
    version: 'given',
    secured: undefined,
    stop: not,
    kill: not,
    restart: not,
    dispose: () => Promise.resolve(),
  };
}

async function dockerAnswers(): Promise<boolean> {
  try {
    await run('docker', ['info'], { timeout: 5_000 });
    return true;
  } catch {
    return false;
  }
}

// Not run on a machine without Docker: the container listens inside and outside on one port, as clients are sent on to it.
async function containerKafka(options: KafkaOptions): Promise<KafkaEngine> {
  const { GenericContainer, Wait } = await import('testcontainers');
  const version = options.version ?? newestKafka;
  const port = options.port ?? (await freePort());
  const container = await new GenericContainer(`apache/kafka:${version}`)
    .withExposedPorts({ container: port, host: port })
    .withEnvironment({
      KAFKA_NODE_ID: '1',
      KAFKA_PROCESS_ROLES: 'broker,controller',
      KAFKA_CONTROLLER_QUORUM_VOTERS: '1@localhost:9093',
      KAFKA_LISTENERS: `PLAINTEXT://:${port},CONTROLLER://:9093`,
      KAFKA_ADVERTISED_LISTENERS: `PLAINTEXT://localhost:${port}`,
      KAFKA_CONTROLLER_LISTENER_NAMES: 'CONTROLLER',
      KAFKA_LISTENER_SECURITY_PROTOCOL_MAP: 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT',
      KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR: '1',
      KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR: '1',
      KAFKA_TRANSACTION_STATE_LOG_MIN_ISR: '1',
      KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS: '0',
      KAFKA_AUTO_CREATE_TOPICS_ENABLE: 'false',
      KAFKA_HEAP_OPTS: '-Xmx512m',
    })
    .withWaitStrategy(Wait.forLogMessage(/Kafka Server started/))
    .start();
  return {
    brokers: [`localhost:${port}`],
    version,
    secured: undefined,
    stop: async () => {
      await container.stop({ remove: false });
    },
    kill: async () => {
      await container.stop({ remove: false, timeout: 0 });
    },
    restart: () => container.restart(),
    dispose: async () => {
      await container.stop();
    },
  };
}

async function nativeKafka(options: KafkaOptions): Promise<KafkaEngine> {
  const version = options.version ?? newestKafka;
  const jars = await jarsOf(version);
  const dir = options.dir ?? mkdtempSync(join(tmpdir(), 'tripline-kafka-'));
  const [plainPort, controllerPort, securePort] = (await freePorts(3)) as [number, number, number];
  const port = options.port ?? plainPort;
  const securedPort = options.secured ? securePort : undefined;
  mkdirSync(dir, { recursive: true });
  const security = securedPort === undefined ? undefined : await makeSecurity(dir, securedPort);
  const properties = join(dir, 'server.properties');
  writeFileSync(
    properties,
    [...settings(dir, port, controllerPort, securedPort), ...(security?.settings ?? [])].join('\n'),
  );
  const java = ['-Xmx512m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-cp', join(jars, '*')];
  await run('java', [
    ...java,
    'kafka.tools.StorageTool',
    'format',
    '-t',
    'MkU3OEVBNTcwNTJENDM2Qk',
    '-c',
    properties,
  ]);

  let child: ChildProcess | undefined;
  const start = async (): Promise<void> => {
    const slow = setTimeout(
      () => process.stderr.write(`Kafka ${version} is starting (log in ${dir}) …\n`),
      2_000,
    );
    try {
      child = await startBroker([...java, 'kafka.Kafka', properties], join(dir, 'broker.log'));
    } finally {
      clearTimeout(slow);
    }
  };
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    const ending = child;
    child = undefined;
    if (!ending || ending.exitCode !== null || ending.signalCode !== null) return;
    const exited = new Promise((resolve) => ending.once('exit', resolve));
    ending.kill(signal);
    // A broker that lost its controller does not end by itself.
    const late = setTimeout(() => ending.kill('SIGKILL'), 20_000);
    await exited;
    clearTimeout(late);
  };
  await start();
  return {
    brokers: [`127.0.0.1:${port}`],
    version,
    secured: security?.listener,
    stop: () => end('SIGTERM'),
    kill: () => end('SIGKILL'),
    restart: async () => {
      await end('SIGTERM');
      await start();
    },
    dispose: async () => {
      await end('SIGKILL');
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

function settings(
  dir: string,
  port: number,
  controllerPort: number,
  securedPort: number | undefined,
): string[] {
  const secured = securedPort === undefined ? '' : `,SASL_SSL://127.0.0.1:${securedPort}`;
  return [
    'process.roles=broker,controller',
    'node.id=1',
    `controller.quorum.voters=1@127.0.0.1:${controllerPort}`,
    `listeners=PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controllerPort}${secured}`,
    `advertised.listeners=PLAINTEXT://127.0.0.1:${port}${secured}`,
    'controller.listener.names=CONTROLLER',
    'listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL',
    `log.dirs=${join(dir, 'data')}`,
    'offsets.topic.replication.factor=1',
    'offsets.topic.num.partitions=4',
    'transaction.state.log.replication.factor=1',
    'transaction.state.log.min.isr=1',
    'group.initial.rebalance.delay.ms=0',
    'auto.create.topics.enable=false',
    // Quick to go, and quick to come back: a broker that was killed is let in again when its old session is over.
    'broker.session.timeout.ms=1500',
    'broker.heartbeat.interval.ms=300',
    'controlled.shutdown.enable=false',
  ];
}

/** A self-signed certificate, two users, and access control under which only one of them may do anything. */
async function makeSecurity(
  dir: string,
  port: number,
): Promise<{ settings: string[]; listener: SecuredListener }> {
  const store = join(dir, 'broker.p12');
  const secret = 'tripline-test';
  const key = ['-keystore', store, '-storepass', secret, '-storetype', 'PKCS12', '-alias', 'broker'];
  if (!existsSync(store)) {
    await run('keytool', [
      ...['-genkeypair', ...key, '-keyalg', 'EC', '-dname', 'CN=localhost', '-validity', '30'],
      ...['-ext', 'SAN=IP:127.0.0.1,DNS:localhost'],
    ]);
  }
  const { stdout: ca } = await run('keytool', ['-exportcert', '-rfc', ...key]);
  const admin = { username: 'tripline', password: 'right-password' };
  const other = { username: 'other', password: 'of-no-rights' };
  const users = [admin, other].map((user) => `user_${user.username}="${user.password}"`).join(' ');
  return {
    listener: { broker: `127.0.0.1:${port}`, ca, admin, other },
    settings: [
      'sasl.enabled.mechanisms=PLAIN',
      'listener.name.sasl_ssl.plain.sasl.jaas.config=' +
        `org.apache.kafka.common.security.plain.PlainLoginModule required ${users};`,
      `ssl.keystore.location=${store}`,
      'ssl.keystore.type=PKCS12',
      `ssl.keystore.password=${secret}`,
      `ssl.key.password=${secret}`,
      'authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer',
      `super.users=User:ANONYMOUS;User:${admin.username}`,
    ],
  };
}

function startBroker(args: string[], logFile: string): Promise<ChildProcess> {
  return new Promise((resolve, reject) => {
    const child = spawn('java', args, { stdio: ['ignore', 'pipe', 'pipe'] });
    // Not to outlive a test run that ends without disposing of it.
    const kill = (): void => void child.kill('SIGKILL');
    process.once('exit', kill);
    child.once('exit', () => process.removeListener('exit', kill));
    let text = '';
    const started = (data: Buffer): void => {
      text += data.toString();
      if (!text.includes('Kafka Server started')) return;
      for (const stream of [child.stdout, child.stderr]) stream.removeListener('data', started).resume();
      child.removeListener('exit', failed);
      resolve(child);
    };
    const failed = (): void => {
      writeFileSync(logFile, text);
      const lines = text.split('\n').filter((line) => /ERROR|Exception/.test(line));
      reject(
        new Error(`The Kafka broker ended while starting (see ${logFile}): ${lines.slice(0, 3).join('; ')}`),
      );
    };
    child.stdout.on('data', started);
    child.stderr.on('data', started);
    child.once('exit', failed);
    child.once('error', reject);
  });
}

/** Directory with the jars of a version; fetched once, then kept beside other caches of the checkout. */
async function jarsOf(version: string): Promise<string> {
  const cache = resolve('node_modules/.cache/tripline');
  const jars = join(cache, `kafka-${version}`);
  if (existsSync(jars)) return jars;
  process.stderr.write(`Fetching the jars of Kafka ${version} …\n`);
  mkdirSync(cache, { recursive: true });
  const unfinished = mkdtempSync(join(cache, 'fetching-'));
  const pom = join(unfinished, 'pom.xml');
  writeFileSync(pom, readFileSync(resolve('test/engines/kafka.pom.xml')));
  const out = join(unfinished, 'jars');
  try {
    await run('mvn', [
      ...['-q', '-B', '-f', pom, 'dependency:copy-dependencies'],
      ...[`-Dkafka.version=${version}`, `-DoutputDirectory=${out}`],
    ]);
    // Whoever is first wins; the other one's copy is the same.
    if (!existsSync(jars)) renameSync(out, jars);
  } catch (error) {
    if (!existsSync(jars))
      throw new Error(`Maven could not fetch the jars of Kafka ${version}: ${(error as Error).message}`, {
        cause: error,
      });
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
  return jars;
}

async function freePort(): Promise<number> {
  return (await freePorts(1))[0]!;
}

/** Different ones: all are held until the last is known. */
async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  for (const server of servers) await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  for (const server of servers) await new Promise((resolve) => server.close(resolve));
  return ports;
}
