/** A simulated Alipay: the gateway that an application talks to on a port of its own, and the control of its buyer and its faults. */
import { VirtualClock } from '../clock.js';
import { FaultPlan } from '../faults.js';
import { Holds } from '../holds.js';
import { serveHttp, text, type HttpReply, type HttpRequest } from '../http.js';
import { Notifier } from '../notifier.js';
import { BoundedRecord } from '../record.js';
import { newKeyPair } from '../rsa-pair.js';
import { readStateFile, StateFile, type StateFormat } from '../state-file.js';
import { answerBillFile } from './bill-file.js';
import { BILL_PATH, Bills, type BillChange } from './bills.js';
import { newCertificates } from './certificates.js';
import { AlipayControl } from './control.js';
import { answerAlipayControl } from './control-http.js';
import { DAY_MS } from './format.js';
import { answerGateway, type Gateway, type GatewayEvent } from './gateway.js';
import { Keyring } from './keyring.js';
import { keysFrom, type AlipayKeys } from './keys.js';
import { Notifications } from './notifications.js';
import type { Platform } from './operations.js';
import { Refunds } from './refunds.js';
import type { Trade } from './trade.js';
import { Book } from './trades.js';

export interface AlipaySimulatorOptions {
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** Default 0, any free one. */
  readonly port?: number;
  readonly appId?: string;
  readonly sellerId?: string;
  /** Of an application that keeps its private key to itself; without it a pair is generated. */
  readonly appPublicKeyPem?: string;
  /** Key material of an earlier run; wins over the state file. */
  readonly keys?: AlipayKeys;
  /** Whether application and platform know one another by certificates (alipay.md section 5); default false, by public keys. */
  readonly certificateMode?: boolean;
  readonly now?: () => Date;
  /** Multiplies the gaps between repeated notifications; default 1. */
  readonly timeFactor?: number;
  /** How long a notification may take to be answered; default 10 s. */
  readonly notifyAnswerMaxMs?: number;
  /** Keeps keys, trades and bill changes across restarts. */
  readonly stateFile?: string;
  /** How far `timestamp` may be off; the platform's limit is not documented, default 15 min. */
  readonly timestampWindowMs?: number;
  /** Between two refunds of one trade; default 3 s. */
  readonly refundSpacingMs?: number;
  /** How long the refund query answers nothing about a new refund; default 0. */
  readonly refundVisibleAfterMs?: number;
  /** From payment to `TRADE_FINISHED`; default 365 days. */
  readonly refundWindowMs?: number;
  /** When the bill of a day is ready on the next, Beijing; default 9. */
  readonly billReadyHour?: number;
  /** Every how many answers put the signature before the node; default 0, never. */
  readonly signFirstEvery?: number;
  /** Whether closing unpaid and the end of the refund window are notified: the platform's pages differ. Default true. */
  readonly notifyClosed?: boolean;
  readonly notifyFinished?: boolean;
  readonly log?: (message: string, details?: Readonly<Record<string, unknown>>) => void;
}

export interface AlipaySimulator extends AsyncDisposable {
  readonly gatewayUrl: string;
  readonly appId: string;
  readonly sellerId: string;
  /** Throws where only the public half was given. */
  readonly appPrivateKeyPem: string;
  readonly alipayPublicKeyPem: string;
  /** Null in key mode. The root's is a bundle. */
  readonly appCertificatePem: string | null;
  readonly alipayCertificatePem: string | null;
  readonly alipayRootCertificatePem: string | null;
  /** All of it, for `keys` of a later run. */
  readonly keys: AlipayKeys;
  readonly control: AlipayControl;
  /** The control over HTTP, for whoever serves it: control-http.ts. */
  answerControl(request: HttpRequest): Promise<HttpReply>;
  stop(): Promise<void>;
}

interface State {
  readonly keys: AlipayKeys;
  readonly trades: readonly Trade[];
  readonly billChanges: readonly BillChange[];
}

const STATE: StateFormat = { format: 'paystate alipay simulator 1', amounts: ['total', 'paid', 'amount'] };
const EVENTS_MAX = 10_000;
/** Eight deliveries (alipay.md section 6). */
const GAPS_MS = [4, 10, 10, 60, 120, 360, 900].map((minutes) => minutes * 60_000);

export async function startAlipaySimulator(options: AlipaySimulatorOptions = {}): Promise<AlipaySimulator> {
  const { host = '127.0.0.1', appId = '2021000000000001', sellerId = '2088000000000001', log = () => undefined } = options;
  const saved = options.stateFile === undefined ? null : readStateFile<State>(options.stateFile, STATE, log);
  const clock = new VirtualClock(options.now);
  const holders = { appId, sellerId };
  const keys = keysFrom({
    given: options.keys,
    saved: saved?.keys,
    appPublicKeyPem: options.appPublicKeyPem,
    newCertificates: options.certificateMode === true ? (pairs) => newCertificates(pairs, holders, clock.now()) : null,
  });
  const keyring = new Keyring(keys, holders, () => state?.changed());
  const stopping = new AbortController();
  const faults = new FaultPlan();
  const holds = new Holds();
  const calls = new BoundedRecord<GatewayEvent>(EVENTS_MAX);

  const notifier = new Notifier({
    clock,
    gapsMs: GAPS_MS.map((gap) => gap * (options.timeFactor ?? 1)),
    answerMaxMs: options.notifyAnswerMaxMs ?? 10_000,
    isAcknowledged: (status, reply) => status === 200 && reply === 'success',
  });
  const silent = [...(options.notifyClosed === false ? ['closed'] : []), ...(options.notifyFinished === false ? ['finished'] : [])];
  let forger: string | null = null;
  const notifications = new Notifications({
    notifier,
    appId,
    sellerId,
    privateKeyPem: () => keyring.signingKeyPem,
    forgerPrivateKeyPem: () => (forger ??= newKeyPair().privateKey),
    sends: (kind) => !silent.includes(kind),
    now: () => clock.now(),
  });

  const state =
    options.stateFile === undefined
      ? null
      : new StateFile<State>(options.stateFile, STATE, () => ({ keys: keyring.keys, trades: book.trades(), billChanges: bills.changes }));
  const book = new Book(
    {
      now: () => clock.now(),
      refundWindowMs: options.refundWindowMs ?? 365 * DAY_MS,
      onEvent: (event) => notifications.announce(event),
      onChange: () => state?.changed(),
    },
    saved?.trades,
  );
  const bills = new Bills(book, { sellerId, readyHour: options.billReadyHour ?? 9 }, saved?.billChanges);
  clock.onAdvance(() => book.sweep());
  state?.flush();

  const platform: Platform = {
    book,
    refunds: new Refunds(book, { spacingMs: options.refundSpacingMs ?? 3_000 }),
    bills,
    keyring,
    refundVisibleAfterMs: options.refundVisibleAfterMs ?? 0,
    payOutcome: 'paid',
  };
  const door = {
    appId,
    appPublicKeyPem: keys.appPublicKeyPem,
    serials: keyring.callSerials,
    timestampWindowMs: options.timestampWindowMs ?? 15 * 60_000,
    now: () => clock.now(),
  };
  let answers = 0;
  const gateway: Gateway = {
    platform,
    door,
    faults,
    holds,
    notifications,
    stopping: stopping.signal,
    signFirst: () => (options.signFirstEvery ?? 0) > 0 && ++answers % (options.signFirstEvery ?? 0) === 0,
    onCall: (event) => {
      calls.add(event);
      log('alipay gateway', { method: event.method, code: event.code, subCode: event.subCode, fault: event.fault });
    },
  };
  const redirecting = () => ({ appId, sellerId, privateKeyPem: keyring.signingKeyPem, now: clock.now() });
  const control = new AlipayControl({ platform, clock, faults, holds, notifications, notifier, door, calls, redirecting });

  const watched = async (answering: () => Promise<HttpReply>): Promise<HttpReply> => {
    try {
      return await answering();
    } catch (error) {
      log('the simulator failed', { error });
      throw error;
    }
  };
  const gatewayServer = await serveHttp({ host, port: options.port ?? 0 }, (request) => {
    if (request.path === BILL_PATH) return answerBillFile(gateway, request);
    return request.path === '/gateway.do' ? watched(() => answerGateway(gateway, request)) : text(404, 'text/plain', 'not found\n');
  });

  const stop = async (): Promise<void> => {
    stopping.abort();
    holds.releaseAll();
    await gatewayServer.close();
    await notifier.stop();
    state?.flush();
  };
  return {
    gatewayUrl: `http://${host}:${gatewayServer.port}/gateway.do`,
    appId,
    sellerId,
    get appPrivateKeyPem() {
      if (keys.appPrivateKeyPem === null) throw new Error('the simulator was given only the public key of the application');
      return keys.appPrivateKeyPem;
    },
    get alipayPublicKeyPem() {
      return keyring.keys.alipayPublicKeyPem;
    },
    appCertificatePem: keyring.appCertificatePem,
    get alipayCertificatePem() {
      return keyring.alipayCertificatePem;
    },
    alipayRootCertificatePem: keyring.alipayRootCertificatePem,
    get keys() {
      return keyring.keys;
    },
    control,
    answerControl: (request) => watched(() => answerAlipayControl(control, request)),
    stop,
    [Symbol.asyncDispose]: stop,
  };
}
