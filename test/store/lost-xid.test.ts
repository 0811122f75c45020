import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { systemClock } from '../../src/clock.js';
import { Payment } from '../../src/payment/payment.js';
import { openOrm } from '../../src/store/orm.js';
import { UnitOfWork } from '../../src/store/unit-of-work.js';
import { Database } from '../chaos/database.js';
import { connected } from '../support/pg-client.js';
import { creation } from '../support/store.js';
import { isCommit, startTcpProxy } from '../support/tcp-proxy.js';
import { until } from '../support/until.js';

test.each([
  ['was given out again and committed by somebody else', true],
  ['is yet to be given out again', false],
])('a transaction that a crash lost is not taken for committed when its id %s', async (_, isGivenOut) => {
  await using stack = new AsyncDisposableStack();
  const folder = await mkdtemp(join(process.env['PAYSTATE_TEST_FOLDER']!, 'paystate-lost-xid-'));
  await chmod(folder, 0o755);
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  const database = stack.use(await Database.start(join(folder, 'postgres')));
  const url = new URL(database.url);
  const proxy = stack.use(await startTcpProxy({ target: { host: '127.0.0.1', port: Number(url.port) } }));
  url.port = `${proxy.port}`;
  const orm = stack.adopt(await openOrm(url.href), (own) => own.close(true));
  const work = new UnitOfWork(orm, systemClock);
  await work.run(creation());
  // What hangs in the proxy would never end.
  stack.defer(() => {
    proxy.cutAll();
    proxy.resume();
  });

  // Nothing of a transaction is on disk before its COMMIT arrives, and it never does.
  let held = false;
  proxy.onClientData((chunk) => {
    if (held || !isCommit(chunk)) return 'pass';
    held = true;
    proxy.freeze();
    return 'drop';
  });
  const lost = creation();
  let decided = 0;
  const doubtful = work.run({ ...lost, decide: (view) => { decided += 1; return lost.decide(view); } });
  await until(() => held);
  const xid = await lastXid(database);
  await database.crash();

  await using client = await connected(database.url);
  const reached = async (): Promise<boolean> => (await client.query<{ reached: boolean }>('select pg_current_xact_id() >= $1::text::xid8 as reached', [xid])).rows[0]!.reached;
  const status = async (): Promise<unknown[]> => (await client.query<{ status: string }>('select pg_xact_status($1::text::xid8) as status', [xid])).rows;
  if (isGivenOut) {
    await until(reached);
    expect(await status()).toEqual([{ status: 'committed' }]);
  } else {
    await expect(status()).rejects.toThrow('in the future');
  }
  proxy.cutAll();
  proxy.resume();

  const { id } = await doubtful;
  expect(decided).toBe(2);
  expect(await orm.em.fork().count(Payment, { id })).toBe(1);
}, 20_000);

async function lastXid(database: Database): Promise<string> {
  await using client = await connected(database.url);
  const { rows } = await client.query<{ xid: string }>('select backend_xid::text as xid from pg_stat_activity where backend_xid is not null and pid <> pg_backend_pid()');
  expect(rows).toHaveLength(1);
  return rows[0]!.xid;
}
