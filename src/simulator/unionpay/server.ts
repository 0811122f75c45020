/** A simulated UnionPay: the gateway and the files that a merchant talks to on a port of their own, and the control of its buyer and its faults. */
import { VirtualClock } from '../clock.js';
import { FaultPlan } from '../faults.js';
import { Holds } from '../holds.js';
import { serveHttp, type HttpReply, type HttpRequest } from '../http.js';
import { Notifier } from '../notifier.js';
import { BoundedRecord } from '../record.js';
import { readStateFile, StateFile, type StateFormat } from '../state-file.js';
import { Book } from './book.js';
import { UnionPayControl } from './control.js';
import { answerUnionPayControl } from './control-http.js';
import { answerGateway, type GatewayEvent } from './gateway.js';
import { newKeys, type UnionPayKeys } from './keys.js';
import { Notifications } from './notifications.js';
import { BASE_PATH, tellingOf, type Platform } from './operations.js';
import { REFUND_WINDOW_MS, Returns } from './returns.js';
import { Settlement, type BillChange } from './settlement.js';
import { Signer } from './signer.js';
import type { Transaction } from './transaction.js';

export interface UnionPaySimulatorOptions {
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** Default 0, any free one. */
  readonly port?: number;
  /** 15 digits. */
  readonly merId?: string;
  /** Key material of an earlier run; wins over the state file. */
  readonly keys?: UnionPayKeys;
  readonly now?: () => Date;
  /** Multiplies the gaps between repeated notifications; default 1. */
  readonly timeFactor?: number;
  /** How long a notification may take to be answered; default 10 s. */
  readonly notifyAnswerMaxMs?: number;
  /** Keeps keys, transactions and bill changes across restarts. */
  readonly stateFile?: string;
  /** Inside of `signPubKeyCert`; default CR LF, as in the platform's own messages. */
  readonly certificateLineEnd?: '\n' | '\r\n';
  /** How far the `txnTime` of a new transaction may be from now; default 30 min. */
  readonly txnTimeWindowMs?: number;
  /** What another one is answered with; default 10. */
  readonly staleTimeCode?: string;
  /** How long a query answers that a new refund or void does not exist; default 0. */
  readonly refundVisibleAfterMs?: number;
  /** From acceptance to success; default 0, right after the reply; null only by control. */
  readonly refundSettlesAfterMs?: number | null;
  /** From payment to the last moment for a refund; default 330 days. */
  readonly refundWindowMs?: number;
  /** When the file of a clearing day is ready on the next day, Beijing; default 9. */
  readonly billReadyHour?: number;
  readonly log?: (message: string, details?: Readonly<Record<string, unknown>>) => void;
}

export interface UnionPaySimulator extends AsyncDisposable {
  readonly merId: string;
  /** Ends in `/gateway/api/`. */
  readonly gatewayUrl: string;
  readonly fileUrl: string;
  readonly merchantPrivateKeyPem: string;
  readonly merchantCertificatePem: string;
  readonly rootCertificatePem: string;
  readonly middleCertificatePem: string;
  /** All of it as it is now, for `keys` of a later run. */
  readonly keys: UnionPayKeys;
  readonly control: UnionPayControl;
  /** The control over HTTP, for whoever serves it: control-http.ts. */
  answerControl(request: HttpRequest): Promise<HttpReply>;
  stop(): Promise<void>;
}

interface State {
  readonly keys: UnionPayKeys;
  readonly transactions: readonly Transaction[];
  readonly billChanges: readonly BillChange[];
}

const STATE: StateFormat = { format: 'paystate unionpay simulator 1', amounts: ['amount', 'paid'] };
const EVENTS_MAX = 10_000;
const MINUTE_MS = 60_000;
/** Five sends; the platform's pages differ on the gaps (unionpay.md section 5). */
const GAPS_MS = [1, 2, 4, 5].map((minutes) => minutes * MINUTE_MS);

export async function startUnionPaySimulator(options: UnionPaySimulatorOptions = {}): Promise<UnionPaySimulator> {
  const { host = '127.0.0.1', merId = '000000000000001', log = () => undefined } = options;
  const clock = new VirtualClock(options.now);
  const now = (): number => clock.now();
  const saved = options.stateFile === undefined ? null : readStateFile<State>(options.stateFile, STATE, log);
  const keys = options.keys ?? saved?.keys ?? newKeys(now(), merId);
  const signer = new Signer(keys, { lineEnd: options.certificateLineEnd ?? '\r\n', now });
  const stopping = new AbortController();
  const faults = new FaultPlan();
  const holds = new Holds();
  const calls = new BoundedRecord<GatewayEvent>(EVENTS_MAX);

  const notifier = new Notifier({
    clock,
    gapsMs: GAPS_MS.map((gap) => gap * (options.timeFactor ?? 1)),
    answerMaxMs: options.notifyAnswerMaxMs ?? 10_000,
    isAcknowledged: (status) => status === 200 || status === 302,
  });
  const notifications = new Notifications({ notifier, signer, telling: () => tellingOf(platform) });

  const state =
    options.stateFile === undefined
      ? null
      : new StateFile<State>(options.stateFile, STATE, () => ({ keys: signer.keys, transactions: book.transactions(), billChanges: settlement.changes }));
  const book = new Book({ now, onEvent: (event) => notifications.announce(event), onChange: () => state?.changed() }, saved?.transactions);
  const { refundSettlesAfterMs: settlesAfterMs = 0 } = options;
  const returns = new Returns(book, { settlesAfterMs, refundWindowMs: options.refundWindowMs ?? REFUND_WINDOW_MS });
  const settlement = new Settlement(book, { merId, readyHour: options.billReadyHour ?? 9 }, saved?.billChanges);
  const platform: Platform = { merId, book, returns, settlement, refundVisibleAfterMs: options.refundVisibleAfterMs ?? 0, reqReserved: null };
  clock.onAdvance(() => returns.sweep());
  returns.sweep();
  for (const transaction of book.transactions()) returns.arm(transaction);
  state?.flush();

  const { txnTimeWindowMs = 30 * MINUTE_MS, staleTimeCode = '10' } = options;
  const gateway = {
    platform,
    door: { merId, merchant: keys.merchant, txnTimeWindowMs, staleTimeCode, now },
    signer,
    faults,
    holds,
    notifications,
    stopping: stopping.signal,
    onCall: (event: GatewayEvent): void => {
      calls.add(event);
      log('unionpay gateway', { operation: event.operation, code: event.code, fault: event.fault });
    },
  };
  const renewCertificate = (): void => {
    signer.renew();
    state?.changed();
  };
  const control = new UnionPayControl({ platform, clock, faults, holds, notifications, notifier, calls, renewCertificate });

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
    returns.stop();
    await server.close();
    await notifier.stop();
    state?.flush();
  };
  const origin = `http://${host}:${server.port}`;
  return {
    merId,
    gatewayUrl: `${origin}${BASE_PATH}`,
    fileUrl: `${origin}/`,
    merchantPrivateKeyPem: keys.merchant.privateKeyPem,
    merchantCertificatePem: keys.merchant.certificatePem,
    rootCertificatePem: keys.root.certificatePem,
    middleCertificatePem: keys.middle.certificatePem,
    get keys() {
      return signer.keys;
    },
    control,
    answerControl: (request) => answerUnionPayControl(control, request),
    stop,
    [Symbol.asyncDispose]: stop,
  };
}
