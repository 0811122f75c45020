/** A simulated Alipay on two ports: the gateway that an application talks to, and the control of its buyer and its faults. */
import { VirtualClock } from '../clock.js';
import { FaultPlan } from '../faults.js';
import { Holds } from '../holds.js';
import { serveHttp, text, type HttpReply } from '../http.js';
import { Notifier } from '../notifier.js';
import { BoundedRecord } from '../record.js';
import { readStateFile, StateFile, type StateFormat } from '../state-file.js';
import { AlipayControl } from './control.js';
import { answerAlipayControl } from './control-http.js';
import { answerGateway, type Gateway, type GatewayEvent } from './gateway.js';
import { keysFrom, newKeyPair, type AlipayKeys } from './keys.js';
import { Notifications } from './notifications.js';
import type { Platform } from './operations.js';
import { Refunds } from './refunds.js';
import type { Trade } from './trade.js';
import { Book } from './trades.js';

export interface AlipaySimulatorOptions {
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** Default 0, any free one; likewise `controlPort`. */
  readonly port?: number;
  readonly controlPort?: number;
  readonly appId?: string;
  readonly sellerId?: string;
  /** Of an application that keeps its private key to itself; without it a pair is generated. */
  readonly appPublicKeyPem?: string;
  /** Key material of an earlier run; wins over the state file. */
  readonly keys?: AlipayKeys;
  readonly now?: () => Date;
  /** Multiplies the gaps between repeated notifications; default 1. */
  readonly timeFactor?: number;
  /** How long a notification may take to be answered; default 10 s. */
  readonly notifyAnswerMaxMs?: number;
  /** Keeps keys and trades across restarts. */
  readonly stateFile?: string;
  /** How far `timestamp` may be off; the platform's limit is not documented, default 15 min. */
  readonly timestampWindowMs?: number;
  /** Between two refunds of one trade; default 3 s. */
  readonly refundSpacingMs?: number;
  /** How long the refund query answers nothing about a new refund; default 0. */
  readonly refundVisibleAfterMs?: number;
  /** From payment to `TRADE_FINISHED`; default 365 days. */
  readonly refundWindowMs?: number;
  /** Every how many answers put the signature before the node; default 0, never. */
  readonly signFirstEvery?: number;
  /** Whether closing unpaid and the end of the refund window are notified: the platform's pages differ. Default true. */
  readonly notifyClosed?: boolean;
  readonly notifyFinished?: boolean;
  readonly log?: (message: string, details?: Readonly<Record<string, unknown>>) => void;
}

export interface AlipaySimulator extends AsyncDisposable {
  readonly gatewayUrl: string;
  readonly controlUrl: string;
  readonly appId: string;
  readonly sellerId: string;
  /** Throws where only the public half was given. */
  readonly appPrivateKeyPem: string;
  readonly alipayPublicKeyPem: string;
  /** All of it, for `keys` of a later run. */
  readonly keys: AlipayKeys;
  readonly control: AlipayControl;
  stop(): Promise<void>;
}

interface State {
  readonly keys: AlipayKeys;
  readonly trades: readonly Trade[];
}

const STATE: StateFormat = { format: 'paystate alipay simulator 1', amounts: ['total', 'paid', 'amount'] };
const DAY_MS = 86_400_000;
const EVENTS_MAX = 10_000;
/** Eight deliveries (alipay.md section 6). */
const GAPS_MS = [4, 10, 10, 60, 120, 360, 900].map((minutes) => minutes * 60_000);

export async function startAlipaySimulator(options: AlipaySimulatorOptions = {}): Promise<AlipaySimulator> {
  const { host = '127.0.0.1', appId = '2021000000000001', sellerId = '2088000000000001', log = () => undefined } = options;
  const saved = options.stateFile === undefined ? null : readStateFile<State>(options.stateFile, STATE, log);
  const keys = keysFrom({ given: options.keys, saved: saved?.keys, appPublicKeyPem: options.appPublicKeyPem });
  const clock = new VirtualClock(options.now);
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
    privateKeyPem: keys.alipayPrivateKeyPem,
    forgerPrivateKeyPem: () => (forger ??= newKeyPair().privateKey),
    sends: (kind) => !silent.includes(kind),
    now: () => clock.now(),
  });

  const state = options.stateFile === undefined ? null : new StateFile<State>(options.stateFile, STATE, () => ({ keys, trades: book.trades() }));
  const book = new Book(
    {
      now: () => clock.now(),
      refundWindowMs: options.refundWindowMs ?? 365 * DAY_MS,
      onEvent: (event) => notifications.announce(event),
      onChange: () => state?.changed(),
    },
    saved?.trades,
  );
  clock.onAdvance(() => book.sweep());
  state?.flush();

  const platform: Platform = {
    book,
    refunds: new Refunds(book, { spacingMs: options.refundSpacingMs ?? 3_000 }),
    refundVisibleAfterMs: options.refundVisibleAfterMs ?? 0,
    payOutcome: 'paid',
  };
  const door = { appId, appPublicKeyPem: keys.appPublicKeyPem, timestampWindowMs: options.timestampWindowMs ?? 15 * 60_000, now: () => clock.now() };
  let answers = 0;
  const gateway: Gateway = {
    platform,
    door,
    alipayPrivateKeyPem: keys.alipayPrivateKeyPem,
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
  const redirecting = () => ({ appId, sellerId, privateKeyPem: keys.alipayPrivateKeyPem, now: clock.now() });
  const control = new AlipayControl({ platform, clock, faults, holds, notifications, notifier, door, calls, redirecting });

  const watched = async (answering: () => Promise<HttpReply>): Promise<HttpReply> => {
    try {
      return await answering();
    } catch (error) {
      log('the simulator failed', { error });
      throw error;
    }
  };
  const gatewayServer = await serveHttp({ host, port: options.port ?? 0 }, (request) =>
    request.path === '/gateway.do' ? watched(() => answerGateway(gateway, request)) : text(404, 'text/plain', 'not found\n'),
  );
  const controlServer = await serveHttp({ host, port: options.controlPort ?? 0 }, (request) => watched(() => answerAlipayControl(control, request))).catch(
    async (error: unknown) => {
      await gatewayServer.close();
      throw error;
    },
  );

  const stop = async (): Promise<void> => {
    stopping.abort();
    holds.releaseAll();
    await Promise.all([gatewayServer.close(), controlServer.close()]);
    await notifier.stop();
    state?.flush();
  };
  return {
    gatewayUrl: `http://${host}:${gatewayServer.port}/gateway.do`,
    controlUrl: `http://${host}:${controlServer.port}`,
    appId,
    sellerId,
    get appPrivateKeyPem() {
      if (keys.appPrivateKeyPem === null) throw new Error('the simulator was given only the public key of the application');
      return keys.appPrivateKeyPem;
    },
    alipayPublicKeyPem: keys.alipayPublicKeyPem,
    keys,
    control,
    stop,
    [Symbol.asyncDispose]: stop,
  };
}
