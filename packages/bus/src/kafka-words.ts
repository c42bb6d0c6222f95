/** What kafkajs's errors carry, of whatever class. */
interface KafkaErrorLike {
  name?: string;
  message?: string;
  /** Kafka's error code by name, such as TOPIC_AUTHORIZATION_FAILED. */
  type?: string;
  /** The system's error code, such as ECONNREFUSED. */
  code?: string | number;
  broker?: string;
  cause?: unknown;
  errors?: unknown[];
}

/** The errors that an error of kafkajs wraps, outermost first. */
function* chainOf(error: unknown): Generator<KafkaErrorLike> {
  let at = error as KafkaErrorLike | undefined;
  for (let depth = 0; at && depth < 8; depth++) {
    yield at;
    at = (at.cause ?? at.errors?.[0]) as KafkaErrorLike | undefined;
  }
}

/** Kafka's name of what went wrong, such as MESSAGE_TOO_LARGE, however deep it is wrapped. */
export function kafkaErrorType(error: unknown): string | undefined {
  for (const one of chainOf(error)) if (one.type !== undefined) return one.type;
  return undefined;
}

/** What is wrong, where, and what to do, for somebody who runs Kafka but does not know kafkajs. */
export function inWords(
  error: unknown,
  where: {
    brokers: readonly string[];
    sasl?: { mechanism: string; username: string } | undefined;
    what?: string;
  },
): string {
  const brokers = where.brokers.join(', ');
  const what = where.what === undefined ? '' : ` (${where.what})`;
  const chain = [...chainOf(error)];
  const message = chain.at(-1)?.message ?? String(error);
  const type = kafkaErrorType(error);
  if (
    chain.some(({ name }) => name === 'KafkaJSSASLAuthenticationError') ||
    type === 'SASL_AUTHENTICATION_FAILED'
  ) {
    const user = where.sasl ? ` ${where.sasl.mechanism} for user ${where.sasl.username}` : '';
    return `Kafka at ${brokers} refused the login${user}: ${message}. Check bus.kafka.sasl.`;
  }
  switch (type) {
    case 'TOPIC_AUTHORIZATION_FAILED':
      return `Kafka does not allow this client to use a topic${what}: it needs DESCRIBE, READ and WRITE on Tripline's topics. ${aclsAre}`;
    case 'GROUP_AUTHORIZATION_FAILED':
      return `Kafka does not allow this client to use a consumer group${what}: it needs READ on Tripline's groups. ${aclsAre}`;
    case 'CLUSTER_AUTHORIZATION_FAILED':
      return `Kafka does not allow this client what it needs of the cluster${what}: IDEMPOTENT_WRITE to publish, CREATE to make topics. ${aclsAre}`;
    case 'UNKNOWN_TOPIC_OR_PARTITION':
      return `Kafka has no such topic${what}, or no longer: it is looked for and made anew.`;
    case 'GROUP_LOAD_IN_PROGRESS':
    case 'GROUP_COORDINATOR_NOT_AVAILABLE':
    case 'NOT_COORDINATOR_FOR_GROUP':
      return `Kafka is taking up its consumer groups${what}: this passes by itself.`;
    case 'NOT_ENOUGH_REPLICAS':
    case 'NOT_ENOUGH_REPLICAS_AFTER_APPEND':
      return `Kafka has fewer replicas in sync than min.insync.replicas asks for${what}: bring the missing brokers back.`;
  }
  if (chain.some(({ name }) => name === 'KafkaJSGroupCoordinatorNotFound')) {
    return (
      `Kafka names no coordinator for the consumer group${what}. Right after a start of Kafka this passes by itself; ` +
      `if it stays, the client lacks READ on the group. ${aclsAre}`
    );
  }
  if (/certificate|self.signed|altname/i.test(message)) {
    return `The TLS certificate of Kafka at ${brokers} is not accepted: ${message}. Check bus.kafka.tls (caFile, serverName).`;
  }
  const connection = chain.find(({ name }) => name?.startsWith('KafkaJSConnection') === true);
  if (connection) {
    const closed = connection.name === 'KafkaJSConnectionClosedError';
    return (
      `Kafka is not reachable at ${connection.broker ?? brokers}: ${message}. ` +
      (closed
        ? 'If it stays: a listener that expects TLS or SASL closes connections without; see bus.kafka.tls and bus.kafka.sasl.'
        : 'Check that a broker listens there, and bus.kafka.brokers.')
    );
  }
  return `Kafka at ${brokers} does not do as asked${what}: ${message}`;
}

const aclsAre = 'See "Rights" in packages/bus/README.md.';
