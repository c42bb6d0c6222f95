// A stand-in for a ClickHouse server: its HTTP interface over chdb, which is the same engine, as a process of its own. It
// speaks what @clickhouse/client sends, answers as the server does, and makes the mistakes that it is told to make.
// Started by clickhouse.ts with its options as JSON in the first argument.
import { createWriteStream, mkdirSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { buffer, text } from 'node:stream/consumers';
import { createGunzip, gzipSync } from 'node:zlib';
import { drainPending, Session } from 'chdb';

const { port, dir, user, password } = JSON.parse(process.argv[2]);
const data = join(dir, 'data');
const incoming = join(dir, 'incoming');
rmSync(incoming, { recursive: true, force: true });
mkdirSync(incoming, { recursive: true });

// Keeps the engine and its caches while nobody asks: each request has a session of its own. (The engine hands what a
// failed query had already given to the next query of the same session, see embedded-lake.ts.)
const engine = new Session(data);
const version = (await engine.queryAsync('SELECT version()', { format: 'TabSeparated' })).text().trim();

/** Mistakes to make, each `times` times, on statements that begin with `statement`. */
const faults = [];
const codes = {
  MEMORY_LIMIT_EXCEEDED: [241, '(total) memory limit exceeded: would use 7.20 GiB'],
  TABLE_IS_READ_ONLY: [242, 'Table is in readonly mode since table metadata was not found in zookeeper'],
  TOO_MANY_PARTS: [
    252,
    'Too many parts (3000 with average size of 1.00 MiB). Merges are processing significantly slower than inserts',
  ],
};
process.on('message', ({ fault, id }) => {
  faults.push({ times: 1, statement: 'INSERT', ...fault });
  process.send({ done: id });
});
process.on('disconnect', () => process.exit());
process.on('SIGTERM', () => {
  server.closeAllConnections();
  engine.close();
  void drainPending().then(() => process.exit());
});

const beside = new Set([
  'buffer_size',
  'database',
  'default_format',
  'enable_http_compression',
  'password',
  'query',
  'query_id',
  'role',
  'session_id',
  'user',
  'wait_end_of_query',
]);
const statuses = {
  26: 400,
  27: 400,
  46: 404,
  47: 404,
  60: 404,
  62: 400,
  81: 404,
  117: 400,
  159: 408,
  194: 401,
  516: 403,
};
let staged = 0;

class EngineError extends Error {
  constructor(code, type, message) {
    super(`Code: ${code}. DB::Exception: ${message}. (${type})`);
  }
}

async function answer(request, response) {
  const url = new URL(request.url, 'http://x');
  if (url.pathname !== '/') {
    response.statusCode = url.pathname === '/ping' ? 200 : 404;
    return response.end(url.pathname === '/ping' ? 'Ok.\n' : `There is no handle ${url.pathname}\n`);
  }
  const parameters = url.searchParams;
  authenticate(request, parameters);
  const plain = request.headers['content-encoding'] === 'gzip' ? request.pipe(createGunzip()) : request;
  const inUrl = parameters.get('query') ?? '';
  const insert = /^\s*INSERT INTO (.*?)(?:\sSETTINGS\s(.*?))?\sFORMAT\s+(\w+)\s*$/is.exec(inUrl);
  const statement = insert ? inUrl : inUrl + (await text(plain));
  const fault = faults.find((one) => one.times > 0 && statement.trimStart().startsWith(one.statement));
  if (fault) fault.times--;
  // As the server does it, the rows are read before they are refused.
  const file = join(incoming, `${++staged}.rows`);
  try {
    if (insert) await pipeline(plain, createWriteStream(file));
    if (fault?.answer === 'hang') return;
    if (fault?.answer === 'reset') return request.socket.destroy();
    if (fault?.answer === '503')
      return response.writeHead(503, { 'content-type': 'text/html' }).end('<html>Service Unavailable</html>');
    if (fault?.answer in codes)
      throw new EngineError(codes[fault.answer][0], fault.answer, codes[fault.answer][1]);
    const sql = insert
      ? `INSERT INTO ${insert[1]} FROM INFILE '${file}' ${insert[2] ? `SETTINGS ${insert[2]}` : ''} FORMAT ${insert[3]}`
      : statement;
    const result = await run(sql, parameters);
    if (fault?.answer === 'reset-after') return request.socket.destroy();
    const summary = {
      read_rows: String(result.rowsRead),
      read_bytes: String(result.bytesRead),
      written_rows: insert ? String(result.rowsRead) : '0',
      elapsed_ns: String(Math.round(result.elapsed * 1e9)),
    };
    response.setHeader('X-ClickHouse-Summary', JSON.stringify(summary));
    response.setHeader('X-ClickHouse-Timezone', 'Etc/UTC');
    response.setHeader('X-ClickHouse-Query-Id', parameters.get('query_id') ?? '');
    const zipped =
      parameters.get('enable_http_compression') === '1' &&
      /\bgzip\b/.test(request.headers['accept-encoding'] ?? '');
    if (zipped) response.setHeader('Content-Encoding', 'gzip');
    response.end(zipped ? gzipSync(result.bytes()) : result.bytes());
  } finally {
    if (insert) await unlink(file).catch(() => undefined);
  }
}

function authenticate(request, parameters) {
  const [, basic] = /^Basic (.*)$/.exec(request.headers.authorization ?? '') ?? [];
  const [name, key] = basic
    ? Buffer.from(basic, 'base64').toString().split(/:(.*)/s)
    : [
        request.headers['x-clickhouse-user'] ?? parameters.get('user') ?? 'default',
        request.headers['x-clickhouse-key'] ?? parameters.get('password') ?? '',
      ];
  if (name !== user || key !== password)
    throw new EngineError(
      516,
      'AUTHENTICATION_FAILED',
      `${name}: Authentication failed: password is incorrect, or there is no user with such name`,
    );
}

async function run(sql, parameters) {
  const session = new Session(data);
  try {
    const sets = [...parameters]
      .filter(([name]) => !beside.has(name))
      .map(([name, value]) => `${name} = ${quote(value)}`);
    // All at once, as on the server: with readonly among them, nothing can be set after it.
    if (sets.length > 0) await session.queryAsync(`SET ${sets.join(', ')}`);
    if (parameters.has('database')) await session.queryAsync(`USE ${parameters.get('database')}`);
    return await session.queryAsync(sql, { format: parameters.get('default_format') ?? 'TabSeparated' });
  } finally {
    session.close();
  }
}

function quote(value) {
  return `'${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}

const server = createServer({ keepAliveTimeout: 10_000 }, (request, response) => {
  answer(request, response).catch(async (error) => {
    if (response.headersSent || response.destroyed) return request.socket.destroy();
    const message = String(error.message);
    const code = Number(/^Code: (\d+)/.exec(message)?.[1] ?? 1002);
    // A connection whose body nobody reads cannot be used again.
    await buffer(request).catch(() => undefined);
    response.writeHead(statuses[code] ?? 500, {
      'X-ClickHouse-Exception-Code': String(code),
      'content-type': 'text/plain',
    });
    response.end(`${message.replace(/ \(version [^)]*\)/g, '')} (version ${version} (official build))\n`);
  });
});
server.listen(port, '127.0.0.1', () => process.send({ port: server.address().port, version }));
