/** The process that is measured: nothing but one adapter, which downloads a bill and hands out its rows. The job comes by stdin. */
import { text } from 'node:stream/consumers';
import type { BillRow, PlatformAdapter } from '../../src/payment/platform.js';
import { MemoryWatch, type MemoryUse } from './memory-watch.js';
import { noTotals, type Totals } from './movements.js';

export interface Job {
  readonly platform: keyof typeof ADAPTERS;
  readonly account: unknown;
  readonly day: string;
}

/** Amounts in fen, as text. */
export interface Reading extends MemoryUse {
  readonly payments: number;
  readonly refunds: number;
  readonly paid: string;
  readonly refunded: string;
  readonly fees: string;
  /** From the call to the last row. */
  readonly seconds: number;
  /** Of which the file was downloaded and proven. */
  readonly downloadSeconds: number;
}

/** No notification comes here. */
const NOWHERE = 'http://127.0.0.1:9';
const CALL_MAX_MS = 600_000;

const ADAPTERS = {
  async alipay(account: unknown): Promise<PlatformAdapter> {
    const { createAlipayAdapter } = await import('../../src/platform/alipay/adapter.js');
    const { alipaySettings } = await import('../../src/platform/alipay/settings.js');
    return createAlipayAdapter(alipaySettings.parse(account), NOWHERE);
  },
  async wechatpay(account: unknown): Promise<PlatformAdapter> {
    const { createWechatPayAdapter } = await import('../../src/platform/wechatpay/adapter.js');
    const { wechatPaySettings } = await import('../../src/platform/wechatpay/settings.js');
    return createWechatPayAdapter(wechatPaySettings.parse(account), NOWHERE);
  },
  async unionpay(account: unknown): Promise<PlatformAdapter> {
    const { createUnionPayAdapter } = await import('../../src/platform/unionpay/adapter.js');
    const { unionPaySettings } = await import('../../src/platform/unionpay/settings.js');
    return createUnionPayAdapter(unionPaySettings.parse(account), NOWHERE);
  },
};

const job = JSON.parse(await text(process.stdin)) as Job;
process.stdout.write(JSON.stringify(await read(await ADAPTERS[job.platform](job.account), job.day)));

async function read(adapter: PlatformAdapter, day: string): Promise<Reading> {
  const memory = new MemoryWatch();
  const began = performance.now();
  const outcome = await adapter.downloadBill(day, { at: new Date(), signal: AbortSignal.timeout(CALL_MAX_MS) });
  if (outcome.kind !== 'ACCEPTED' || outcome.value === null) throw new Error(`there is no bill: ${JSON.stringify(outcome)}`);
  const downloaded = performance.now();

  await using bill = outcome.value;
  const totals = noTotals();
  for await (const row of bill.rows) {
    addRow(totals, row);
    if ((totals.payments + totals.refunds) % 1_000 === 0) memory.sample();
  }
  const ended = performance.now();

  const { paid, refunded, fees, ...counts } = totals;
  const seconds = { seconds: (ended - began) / 1_000, downloadSeconds: (downloaded - began) / 1_000 };
  return { ...counts, paid: `${paid}`, refunded: `${refunded}`, fees: `${fees}`, ...seconds, ...memory.stop() };
}

function addRow(totals: Totals, { kind, amount, fee }: BillRow): void {
  totals.fees += fee;
  if (kind === 'PAYMENT') {
    totals.payments += 1;
    totals.paid += amount.minorUnits;
  } else {
    totals.refunds += 1;
    totals.refunded += amount.minorUnits;
  }
}
