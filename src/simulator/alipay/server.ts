/** A simulated Alipay: a gateway that verifies and signs like the platform, a book of trades, a notifier, and a buyer's hand. */
import { generateKeyPairSync } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { FaultPlan, type Fault } from '../faults.js';
import { serveHttp } from '../http.js';
import { Notifier, type Attempt } from '../notifier.js';
import { answerControl } from './control.js';
import { answerGateway } from './gateway.js';
import { Notifications } from './notifications.js';
import { Book, type Trade } from './trades.js';

export interface AlipaySimulatorOptions {
  readonly host?: string;
  readonly port?: number;
  readonly controlPort?: number;
  readonly now?: () => Date;
  /** The platform wants a pause between two refunds of one trade; default 3 s. */
  readonly refundGapMs?: number;
  /** Multiplies the gaps between repeated notifications; default 1. */
  readonly timeFactor?: number;
  /** Keeps keys and trades across restarts. */
  readonly stateFile?: string;
  /** Every how many answers put their signature first; 0 never. Default 5. */
  readonly signFirstEvery?: number;
}

export interface AlipaySimulator extends AsyncDisposable {
  readonly gatewayUrl: string;
  readonly controlUrl: string;
  readonly appId: string;
  readonly sellerId: string;
  readonly appPrivateKeyPem: string;
  readonly alipayPublicKeyPem: string;
  readonly control: AlipayControl;
  stop(): Promise<void>;
}

export interface AlipayControl {
  readonly book: Book;
  readonly notifications: Notifications;
  readonly attempts: readonly Attempt[];
  buyerScans(outTradeNo: string): Trade;
  buyerPays(outTradeNo: string, amount?: bigint): Trade;
  refundOutside(outTradeNo: string, amount: bigint): Trade;
  finish(outTradeNo: string): Trade;
  orderOfQr(qrCode: string): string;
  fault(fault: Fault): void;
  clearFaults(): void;
  advanceClock(ms: number): void;
  /** How often each method was called. */
  readonly calls: ReadonlyMap<string, number>;
  /** Resolves once no notification is under way. */
  idle(): Promise<void>;
}

interface Keys {
  readonly appPrivate: string;
  readonly appPublic: string;
  readonly alipayPrivate: string;
  readonly alipayPublic: string;
  readonly forgerPrivate: string;
}

const APP_ID = '2021000000000001';
const SELLER_ID = '2088000000000001';
const MINUTE = 60_000;
/** Between the eight deliveries of a notification. */
const GAPS_MS = [4, 10, 10, 60, 120, 360, 900].map((minutes) => minutes * MINUTE);

export async function startAlipaySimulator(options: AlipaySimulatorOptions = {}): Promise<AlipaySimulator> {
  const host = options.host ?? '127.0.0.1';
  const saved = readState(options.stateFile);
  const keys = saved?.keys ?? newKeys();
  let aheadMs = 0;
  const now = (): Date => new Date((options.now?.() ?? new Date()).getTime() + aheadMs);

  const book = new Book({ now, refundGapMs: options.refundGapMs ?? 3_000 });
  for (const trade of saved?.trades ?? []) book.trades.set(trade.outTradeNo, trade);
  const keep = (): void => writeState(options.stateFile, { keys, trades: [...book.trades.values()] });
  keep();

  const notifier = new Notifier({
    gapsMs: GAPS_MS.map((gap) => gap * (options.timeFactor ?? 1)),
    isAcknowledged: (status, reply) => status === 200 && reply === 'success',
  });
  const parts = { notifier, now, appId: APP_ID, sellerId: SELLER_ID, privateKeyPem: keys.alipayPrivate, forgerKeyPem: keys.forgerPrivate };
  const notifications = new Notifications(parts);
  const faults = new FaultPlan();
  const calls = new Map<string, number>();
  let answers = 0;
  const signFirstEvery = options.signFirstEvery ?? 5;

  const changed = (trade: Trade, refundNo: string | null = null): Trade => {
    keep();
    notifications.tell(trade, refundNo);
    return trade;
  };
  const control: AlipayControl = {
    book,
    notifications,
    attempts: notifier.attempts,
    calls,
    buyerScans(outTradeNo) {
      const trade = book.scan(outTradeNo);
      keep();
      return trade;
    },
    buyerPays: (outTradeNo, amount) => changed(book.pay(outTradeNo, amount)),
    refundOutside(outTradeNo, amount) {
      const requestNo = `console${book.order(outTradeNo).refunds.length + 1}`;
      const yuan = `${amount / 100n}.${(amount % 100n).toString().padStart(2, '0')}`;
      const { trade } = book.refund({ out_trade_no: outTradeNo, refund_amount: yuan, out_request_no: requestNo });
      return changed(trade, requestNo);
    },
    finish(outTradeNo) {
      const trade = book.order(outTradeNo);
      trade.status = 'TRADE_FINISHED';
      return changed(trade);
    },
    orderOfQr(qrCode) {
      const trade = [...book.trades.values()].find((one) => one.qrCode === qrCode);
      if (trade === undefined) throw new Error('nobody knows this code');
      return trade.outTradeNo;
    },
    fault: (fault) => faults.add(fault),
    clearFaults: () => faults.clear(),
    advanceClock: (ms) => void (aheadMs += ms),
    idle: () => notifier.idle(),
  };

  const gateway = await serveHttp({ host, port: options.port ?? 0 }, (exchange) =>
    exchange.url.pathname !== '/gateway.do'
      ? { status: 404, type: 'text/plain', body: 'not found' }
      : answerGateway(
          {
            book,
            now,
            appId: APP_ID,
            appPublicKeyPem: keys.appPublic,
            alipayPrivateKeyPem: keys.alipayPrivate,
            strike: (method) => {
              calls.set(method, (calls.get(method) ?? 0) + 1);
              return faults.strike(method);
            },
            signFirst: () => signFirstEvery > 0 && ++answers % signFirstEvery === 0,
            onPlaced: keep,
            onClosed: (trade) => void changed(trade),
            onRefunded: (trade, requestNo) => void changed(trade, requestNo),
          },
          exchange,
        ),
  );
  const controlServer = await serveHttp({ host, port: options.controlPort ?? 0 }, (exchange) => answerControl(control, exchange)).catch(
    async (error: unknown) => {
      await gateway.close();
      throw error;
    },
  );

  const stop = async (): Promise<void> => {
    await notifier.stop();
    await Promise.all([gateway.close(), controlServer.close()]);
  };
  return {
    gatewayUrl: `http://${host}:${gateway.port}/gateway.do`,
    controlUrl: `http://${host}:${controlServer.port}`,
    appId: APP_ID,
    sellerId: SELLER_ID,
    appPrivateKeyPem: keys.appPrivate,
    alipayPublicKeyPem: keys.alipayPublic,
    control,
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

function newKeys(): Keys {
  const pair = () =>
    generateKeyPairSync('rsa', {
      modulusLength: 2048,
      privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
      publicKeyEncoding: { type: 'spki', format: 'pem' },
    });
  const [app, alipay, forger] = [pair(), pair(), pair()];
  return {
    appPrivate: app.privateKey,
    appPublic: app.publicKey,
    alipayPrivate: alipay.privateKey,
    alipayPublic: alipay.publicKey,
    forgerPrivate: forger.privateKey,
  };
}

interface State {
  readonly keys: Keys;
  readonly trades: readonly Trade[];
}

const AMOUNTS = new Set(['total', 'paid', 'amount']);

function readState(file: string | undefined): State | null {
  if (file === undefined || !existsSync(file)) return null;
  const revive = (key: string, value: unknown): unknown => (AMOUNTS.has(key) && typeof value === 'string' ? BigInt(value) : value);
  return JSON.parse(readFileSync(file, 'utf8'), revive) as State;
}

/** Renamed into place, so that a kill never leaves half a file. */
function writeState(file: string | undefined, state: State): void {
  if (file === undefined) return;
  mkdirSync(dirname(file), { recursive: true });
  const text = JSON.stringify(state, (_key, value: unknown) => (typeof value === 'bigint' ? value.toString() : value));
  writeFileSync(`${file}.draft`, text, { mode: 0o600 });
  renameSync(`${file}.draft`, file);
}
