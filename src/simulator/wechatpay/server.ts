/** A simulated WeChat Pay: the API that a merchant talks to on a port of its own, and the control of its buyer and its faults. */
import { VirtualClock } from '../clock.js';
import { FaultPlan } from '../faults.js';
import { Holds } from '../holds.js';
import { serveHttp, type HttpReply, type HttpRequest } from '../http.js';
import { Notifier } from '../notifier.js';
import { BoundedRecord } from '../record.js';
import { readStateFile, StateFile, type StateFormat } from '../state-file.js';
import { Bills, type BillChange } from './bills.js';
import { Book } from './book.js';
import { WechatPayControl } from './control.js';
import { answerWechatPayControl } from './control-http.js';
import { answerGateway, type ErrorStyle, type GatewayEvent } from './gateway.js';
import { newKeys, type WechatPayKeys } from './keys.js';
import { Notifications } from './notifications.js';
import type { Platform } from './operations.js';
import type { Order } from './order.js';
import { Refunds } from './refunds.js';
import { Signer, type KeyMode } from './signer.js';

export interface WechatPaySimulatorOptions {
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** Default 0, any free one. */
  readonly port?: number;
  readonly mchid?: string;
  readonly appid?: string;
  /** Key material of an earlier run; wins over the state file. */
  readonly keys?: WechatPayKeys;
  readonly now?: () => Date;
  /** Multiplies the gaps between repeated notifications; default 1. */
  readonly timeFactor?: number;
  /** How long a notification may take to be answered; default 5 s. */
  readonly notifyAnswerMaxMs?: number;
  /** Keeps keys, orders and bill changes across restarts. */
  readonly stateFile?: string;
  /** Default `public-key`, which is all that new merchants have. */
  readonly signWith?: KeyMode;
  /** Whether calls must carry `Wechatpay-Serial` in `public-key` mode; default true. */
  readonly demandsPublicKeyId?: boolean;
  /** Default true. */
  readonly signsErrors?: boolean;
  /** Of error codes; default new. */
  readonly spellings?: 'old' | 'new';
  /** What a number used again with other parameters is called; default INVALID_REQUEST. */
  readonly conflictCode?: 'INVALID_REQUEST' | 'OUT_TRADE_NO_USED';
  /** Which part of all notifications a probe precedes, 0 to 1; default 0. */
  readonly probeShare?: number;
  /** Whether an unpaid order turns CLOSED at its expiry, or stays NOTPAY; default true. Nobody can pay it either way. */
  readonly closesExpired?: boolean;
  /** How long a query answers that a new order does not exist; default 0. */
  readonly orderVisibleAfterMs?: number;
  /** Between two refunds of one order; default 60 s. */
  readonly refundSpacingMs?: number;
  /** From acceptance to success; default 0, right after the reply; null only by control. */
  readonly refundSettlesAfterMs?: number | null;
  /** When the bill of a day is ready on the next, Beijing; default 10. */
  readonly billReadyHour?: number;
  /** How long its download address holds; default 30 s, the shorter of the platform's two figures. */
  readonly billLinkLifeMs?: number;
  readonly log?: (message: string, details?: Readonly<Record<string, unknown>>) => void;
}

export interface WechatPaySimulator extends AsyncDisposable {
  readonly baseUrl: string;
  readonly mchid: string;
  readonly appid: string;
  readonly merchantPrivateKeyPem: string;
  readonly merchantCertificatePem: string;
  readonly merchantSerial: string;
  readonly apiV3Key: string;
  readonly publicKeyId: string;
  readonly publicKeyPem: string;
  /** Of the platform: A, then B. */
  readonly certificates: readonly { readonly serial: string; readonly pem: string }[];
  /** All of it, for `keys` of a later run. */
  readonly keys: WechatPayKeys;
  readonly control: WechatPayControl;
  /** The control over HTTP, for whoever serves it: control-http.ts. */
  answerControl(request: HttpRequest): Promise<HttpReply>;
  stop(): Promise<void>;
}

interface State {
  readonly keys: WechatPayKeys;
  readonly orders: readonly Order[];
  readonly billChanges: readonly BillChange[];
}

const STATE: StateFormat = { format: 'paystate wechatpay simulator 1', amounts: ['total', 'paid', 'amount'] };
const EVENTS_MAX = 10_000;
const MINUTE_MS = 60_000;
/** 15 repetitions (wechatpay.md section 5). */
const GAPS_MS = [0.25, 0.25, 0.5, 3, 10, 20, 30, 30, 30, 60, 180, 180, 180, 360, 360].map((minutes) => minutes * MINUTE_MS);

export async function startWechatPaySimulator(options: WechatPaySimulatorOptions = {}): Promise<WechatPaySimulator> {
  const { host = '127.0.0.1', mchid = '1900000001', appid = 'wx0000000000000001', log = () => undefined } = options;
  const merchant = { mchid, appid };
  const clock = new VirtualClock(options.now);
  const now = (): number => clock.now();
  const saved = options.stateFile === undefined ? null : readStateFile<State>(options.stateFile, STATE, log);
  const keys = options.keys ?? saved?.keys ?? newKeys(now(), mchid);
  const signer = new Signer(keys, options.signWith ?? 'public-key');
  const stopping = new AbortController();
  const faults = new FaultPlan();
  const holds = new Holds();
  const calls = new BoundedRecord<GatewayEvent>(EVENTS_MAX);

  const notifier = new Notifier({
    clock,
    gapsMs: GAPS_MS.map((gap) => gap * (options.timeFactor ?? 1)),
    answerMaxMs: options.notifyAnswerMaxMs ?? 5_000,
    isAcknowledged: (status) => status === 200 || status === 204,
  });
  const notifications = new Notifications({ notifier, merchant, apiV3Key: keys.apiV3Key, signer, now });
  notifications.probeShare = options.probeShare ?? 0;

  const state =
    options.stateFile === undefined
      ? null
      : new StateFile<State>(options.stateFile, STATE, () => ({ keys, orders: book.orders(), billChanges: bills.changes }));
  const book = new Book(
    {
      merchant,
      closesExpired: options.closesExpired ?? true,
      conflictCode: options.conflictCode ?? 'INVALID_REQUEST',
      orderVisibleAfterMs: options.orderVisibleAfterMs ?? 0,
      now,
      onEvent: (event) => notifications.announce(event),
      onChange: () => state?.changed(),
    },
    saved?.orders,
  );
  const { refundSettlesAfterMs: settlesAfterMs = 0 } = options;
  const refunds = new Refunds(book, { spacingMs: options.refundSpacingMs ?? MINUTE_MS, settlesAfterMs });
  const bills = new Bills(book, { readyHour: options.billReadyHour ?? 10, linkLifeMs: options.billLinkLifeMs ?? 30_000 }, saved?.billChanges);
  const sweep = (): void => {
    book.sweep();
    refunds.sweep();
  };
  clock.onAdvance(sweep);
  sweep();
  for (const refund of book.orders().flatMap((order) => order.refunds)) refunds.arm(refund);
  state?.flush();

  const platform: Platform = { mchid, book, refunds, bills, keys, signer };
  const errors: ErrorStyle = { spelling: options.spellings ?? 'new', isSigned: options.signsErrors ?? true };
  const gateway = {
    platform,
    door: { mchid, merchant: keys.merchant, signer, demandsPublicKeyId: options.demandsPublicKeyId ?? true, now },
    faults,
    holds,
    notifications,
    stopping: stopping.signal,
    errors,
    onCall: (event: GatewayEvent): void => {
      calls.add(event);
      log('wechatpay api', { operation: event.operation, status: event.status, code: event.code, fault: event.fault });
    },
  };
  const control = new WechatPayControl({ platform, clock, faults, holds, notifications, notifier, errors, calls });

  const server = await serveHttp({ host, port: options.port ?? 0 }, async (request) => {
    try {
      return await answerGateway(gateway, request);
    } catch (error) {
      log('the simulator failed', { error });
      throw error;
    }
  });
  const stop = async (): Promise<void> => {
    stopping.abort();
    holds.releaseAll();
    refunds.stop();
    await server.close();
    await notifier.stop();
    state?.flush();
  };
  return {
    baseUrl: `http://${host}:${server.port}`,
    mchid,
    appid,
    merchantPrivateKeyPem: keys.merchant.privateKeyPem,
    merchantCertificatePem: keys.merchant.certificatePem,
    merchantSerial: keys.merchant.serial,
    apiV3Key: keys.apiV3Key,
    publicKeyId: keys.publicKey.id,
    publicKeyPem: keys.publicKey.publicKeyPem,
    certificates: keys.certificates.map(({ serial, certificatePem }) => ({ serial, pem: certificatePem })),
    keys,
    control,
    answerControl: (request) => answerWechatPayControl(control, request),
    stop,
    [Symbol.asyncDispose]: stop,
  };
}
