/** The schedule's statements where there is more in it than one of them may touch. */
import { bringForward } from '../../src/sync/claims.js';
import { openBench } from '../feed/bench.js';

test('a schedule of many thousands is brought forward as a whole, each payment once, and no other account', async () => {
  await using bench = await openBench();
  const now = new Date('2026-03-10T04:00:00Z');
  await bench.sql('alter table payment_sync disable trigger all');
  await bench.sql(
    `insert into payment_sync (payment_id, due_at, platform, merchant_account)
     select gen_random_uuid(), $1::timestamptz + n / 3 * interval '1 second', 'ALIPAY', account
       from generate_series(1, 25000) n, unnest(array['one', 'other']) account`,
    [now],
  );
  const dues = async (account: string, byMs: number) => {
    const sql = `select extract(epoch from greatest($1::timestamptz, due_at - $3::int * interval '1 millisecond') - $1::timestamptz)::int as s
                   from payment_sync where merchant_account = $2 order by 1`;
    return (await bench.sql<{ s: number }>(sql, [now, account, byMs])).map(({ s }) => s);
  };
  const [wanted, others] = [await dues('one', 600_000), await dues('other', 0)];

  await bringForward(bench.deps.orm, { platform: 'ALIPAY', merchantAccount: 'one' }, now, 600_000);
  expect(await dues('one', 0)).toEqual(wanted);
  expect(await dues('other', 0)).toEqual(others);
});
