/** Everything that can go wrong at the platforms and with their notifications, again and again. */
import { NOTIFICATION_MODES as ALIPAY_MODES } from '../../src/simulator/alipay/notifications.js';
import type { Fault, FaultKind } from '../../src/simulator/faults.js';
import type { Simulators } from '../../src/simulator/simulators.js';
import { NOTIFICATION_MODES as UNIONPAY_MODES } from '../../src/simulator/unionpay/notification-modes.js';
import { NOTIFICATION_MODES as WECHATPAY_MODES } from '../../src/simulator/wechatpay/notification-modes.js';
import { Random } from '../notification/random.js';

const NAMES = ['alipay', 'wechatpay', 'unionpay'] as const;
type Name = (typeof NAMES)[number];

/** Where each kind may strike: all of them somewhere, and each wherever the platform could have it. */
const STRIKES: Record<FaultKind, readonly Name[]> = {
  'delay': NAMES,
  'hold': NAMES,
  'slow-trickle': NAMES,
  'drop-before-commit': NAMES,
  'commit-then-drop': NAMES,
  'connection-reset': NAMES,
  'http-500': NAMES,
  'html-body': NAMES,
  'system-error': NAMES,
  'error-response': NAMES,
  'unsigned-error-response': NAMES,
  'truncated': NAMES,
  'bad-signature': NAMES,
  'no-signature': NAMES,
  'sign-first': ['alipay'],
  'smuggled-node': ['alipay', 'unionpay'],
  'rate-limit': NAMES,
  'wrong-serial': ['wechatpay'],
  'stale-timestamp': ['wechatpay'],
  'duplicate-header': ['wechatpay'],
  'signature-probe': ['wechatpay'],
  'refund-not-executed': NAMES,
  'stale-answer': NAMES,
};

/** The answers in doubt, which a platform may give as well when it has done what it was asked; a definite refusal would be a lie then. */
const IN_DOUBT: readonly FaultKind[] = ['http-500', 'html-body', 'system-error'];

const REFUNDS = { alipay: ['refund'], wechatpay: ['refund'], unionpay: ['refund'] };
const QUERIES = { alipay: ['query', 'alipay.trade.fastpay.refund.query'], wechatpay: ['query', 'refund-query'], unionpay: ['query'] };
const OPERATIONS = {
  alipay: ['*', 'precreate', 'close', ...REFUNDS.alipay, ...QUERIES.alipay],
  wechatpay: ['*', 'create', 'close', ...REFUNDS.wechatpay, ...QUERIES.wechatpay],
  unionpay: ['*', 'pay', ...REFUNDS.unionpay, ...QUERIES.unionpay],
};

/** Every way to tell, but for a false word under a proper signature: then the platform would contradict itself. */
const MODES = {
  alipay: ALIPAY_MODES.filter((mode) => mode !== 'other-seller'),
  wechatpay: WECHATPAY_MODES.filter((mode) => mode !== 'altered-amount' && mode !== 'other-app'),
  unionpay: UNIONPAY_MODES.filter((mode) => mode !== 'altered-amount'),
};

/** A kind of fault, and where it strikes: an operation that every platform calls so. */
export interface Often {
  readonly kind: FaultKind;
  readonly operation: 'refund' | 'query';
  readonly times: number;
}

export interface TroubleOptions {
  readonly seed: number;
  /** Planned as often as all the others together. */
  readonly often: readonly Often[];
  readonly everyMs: number;
  readonly actsPerFault: number;
}

export interface Trouble {
  readonly planned: () => number;
  /** Somebody acts: there is something to be struck. */
  act(): void;
  /** How many calls each kind struck, of the latest at each platform. */
  struck(): Readonly<Record<string, number>>;
  /** The platforms are well again, and decide what they had left lying. */
  stop(): void;
}

/** Plans faults until it is stopped. The seed makes the sequence of plans; which calls they strike is a matter of timing. */
export function makeTrouble(simulators: Simulators, { seed, often, everyMs, actsPerFault }: TroubleOptions): Trouble {
  const random = new Random(seed, 1_000_003);
  const kinds = (Object.keys(STRIKES) as FaultKind[]).flatMap((kind) => STRIKES[kind].map((name) => ({ name, kind })));
  const favoured = often.flatMap((one) => STRIKES[one.kind].map((name) => ({ ...one, name })));
  let [planned, acts] = [0, 0];

  const timer = setInterval(() => {
    if (acts < planned * actsPerFault) return;
    const { name, ...what } = random.pick(favoured.length > 0 && random.chance(0.5) ? favoured : kinds);
    const { control } = simulators[name];
    control.faults.add({ ...faultOf(name, what.kind, random), ...what });
    // Not at every turn: a payment that nobody was told of is spared what happens to one that is known.
    if (random.chance(0.25)) control.notificationPlan({ mode: random.pick<string>(MODES[name]) as never, times: random.between(1, 3) });
    // What is held back stays so for a second or two.
    if (random.chance(0.1)) control.release();
    planned += 1;
  }, everyMs);

  return {
    planned: () => planned,
    act: () => void (acts += 1),
    struck: () => countBy(NAMES.flatMap((name) => simulators[name].control.events().flatMap(({ fault }) => fault ?? []))),
    stop() {
      clearInterval(timer);
      for (const name of NAMES) {
        simulators[name].control.faults.clear();
        simulators[name].control.notificationPlan({ mode: 'normal' });
        simulators[name].control.release();
      }
      decideRefunds(simulators, random);
    },
  };
}

function faultOf(name: Name, kind: FaultKind, random: Random): Fault {
  const operations = kind === 'stale-answer' ? QUERIES : kind === 'refund-not-executed' ? REFUNDS : OPERATIONS;
  // A copy that lags does so for a while.
  const isLag = kind === 'stale-answer';
  const when = { operation: random.pick(operations[name]), ordinal: random.between(1, 4), times: isLag ? random.between(5, 20) : random.between(1, 2) };
  const delayMs = isLag ? random.between(200, 5_000) : random.between(1, 80);
  const committed = random.chance(0.5);
  return { kind, ...when, delayMs, ...(IN_DOUBT.includes(kind) || kind === 'delay' ? { committed } : {}) };
}

/** Refunds that were taken in and left lying end one way or the other. */
function decideRefunds({ wechatpay, unionpay }: Simulators, random: Random): void {
  for (const { status, settlesAt, outRefundNo } of wechatpay.control.listOrders().flatMap(({ refunds }) => refunds)) {
    if (status !== 'PROCESSING' || settlesAt !== null) continue;
    if (random.chance(0.5)) wechatpay.control.refundSettles(outRefundNo);
    else wechatpay.control.refundCloses(outRefundNo);
  }
  for (const { kind, completedAt, settlesAt, orderId, txnTime } of unionpay.control.listOrders()) {
    if (kind === 'payment' || completedAt !== null || settlesAt !== null) continue;
    if (random.chance(0.5)) unionpay.control.refundSettles(`${orderId}@${txnTime}`);
    else unionpay.control.refundFails(`${orderId}@${txnTime}`);
  }
}

export function countBy(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}
