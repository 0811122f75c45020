import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import pg from 'pg';
import { freshDatabase } from './database.js';
import { isCommit, startTcpProxy, type ProxyConnection, type TcpProxy } from './tcp-proxy.js';

describe('in front of an echo', () => {
  let echo: Server;
  let proxy: TcpProxy;

  beforeEach(async () => {
    echo = createServer((socket) => socket.on('error', () => socket.destroy()).pipe(socket)).listen(0, '127.0.0.1');
    await once(echo, 'listening');
    proxy = await startTcpProxy({ target: { host: '127.0.0.1', port: portOf(echo) } });
  });

  afterEach(async () => {
    await proxy.close();
    echo.close();
  });

  test('bytes pass, and an end passes too', async () => {
    const client = connect(proxy.port, '127.0.0.1');
    client.end('hello');
    expect(String(await once(client, 'data'))).toBe('hello');
    await once(client, 'close');
  });

  test('nothing passes while frozen, and everything after', async () => {
    const client = connect(proxy.port, '127.0.0.1');
    await roundTrip(client);
    proxy.freeze();
    const answer = once(client, 'data').then(([chunk]) => String(chunk));
    client.write('held');

    // Another connection comes and goes while this one has no answer.
    const direct = connect(portOf(echo), '127.0.0.1');
    await roundTrip(direct);
    direct.destroy();
    expect(await Promise.race([answer, Promise.resolve('nothing yet')])).toBe('nothing yet');
    expect(proxy.connections.size).toBe(1);

    proxy.resume();
    expect(await answer).toBe('held');
    client.destroy();
  });

  test('cutting resets every connection and the proxy takes new ones', async () => {
    const client = connect(proxy.port, '127.0.0.1');
    await roundTrip(client);
    const [connection] = proxy.connections;
    proxy.cutAll();

    expect(await once(client, 'error')).toMatchObject([{ code: 'ECONNRESET' }]);
    await connection!.ended;
    expect(proxy.connections.size).toBe(0);

    const next = connect(proxy.port, '127.0.0.1');
    await roundTrip(next);
    next.destroy();
  });
});

describe('in front of PostgreSQL', () => {
  test.each([
    ['drop-and-cut', 0],
    ['pass-then-cut', 1],
  ] as const)('a COMMIT under %s leaves %i rows', async (verdict, rows) => {
    await using database = await freshDatabase();
    const target = new URL(database.url);
    await using proxy = await startTcpProxy({ target: { host: target.hostname, port: Number(target.port) } });
    const direct = await clientOf(database.url);
    await direct.query('create table receipt (id int)');

    const throughProxy = await clientOf(database.url, proxy.port);
    const cut: ProxyConnection[] = [];
    proxy.onClientData((chunk, connection) => {
      if (!isCommit(chunk)) return 'pass';
      cut.push(connection);
      return verdict;
    });
    await throughProxy.query('begin');
    await throughProxy.query('insert into receipt values (7)');
    await expect(throughProxy.query('commit')).rejects.toThrow();

    expect(cut).toHaveLength(1);
    await cut[0]!.ended;
    expect((await direct.query('select * from receipt')).rowCount).toBe(rows);
    await direct.end();
  });
});

test.each([
  ['a simple COMMIT', query('COMMIT'), true],
  ['a commit in lower case with a semicolon', query('commit;'), true],
  ['a commit behind another message', Buffer.concat([query('select 1'), query('commit')]), true],
  ['another statement', query('select 1'), false],
  ['a text that speaks of commit', query("insert into note values ('commit')"), false],
  ['commit prepared', query("commit prepared 'x'"), false],
  ['an empty chunk', Buffer.alloc(0), false],
])('isCommit: %s', (_name, chunk, expected) => {
  expect(isCommit(chunk)).toBe(expected);
});

function query(sql: string): Buffer {
  const message = Buffer.alloc(sql.length + 6);
  message.write('Q');
  message.writeInt32BE(sql.length + 5, 1);
  message.write(sql, 5);
  return message;
}

async function clientOf(databaseUrl: string, port?: number): Promise<pg.Client> {
  const url = new URL(databaseUrl);
  if (port !== undefined) url.port = String(port);
  const client = new pg.Client({ connectionString: url.href });
  // The query that was cut says it as well.
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

async function roundTrip(client: Socket): Promise<void> {
  client.write('ping');
  await once(client, 'data');
}

const portOf = (server: Server): number => (server.address() as AddressInfo).port;
