/**
 * The control of the simulated WeChat Pay over HTTP, on a port that no adapter is configured with. Bodies and answers are JSON,
 * amounts are texts in fen, operations are those of operations.ts (`create`, `query`, `refund`, …). What cannot be done answers 409.
 *
 *   POST /wechatpay/buyer-scans        {"out_trade_no"}
 *   POST /wechatpay/buyer-opens        the signed parameters of JSAPI, mini-program or app, each a text
 *   POST /wechatpay/buyer-pays         {"out_trade_no" or "qr_code", "amount_fen"?}
 *   POST /wechatpay/payment-fails      {"out_trade_no"}
 *   POST /wechatpay/expire             {"out_trade_no"}
 *   POST /wechatpay/trade-state        {"out_trade_no", "state" or null}     what a query answers in place of the truth
 *   POST /wechatpay/refund-settles     {"out_refund_no"}   likewise refund-becomes-abnormal, refund-closes
 *   POST /wechatpay/refund-delay       {"ms" or null}                        from acceptance to success; null never by itself
 *   POST /wechatpay/refund-outside     {"out_trade_no", "amount_fen"}
 *   POST /wechatpay/balance            {"amount_fen" or null}
 *   POST /wechatpay/sign-with          {"mode": "certificate-a|certificate-b|public-key|alternate"}
 *   POST /wechatpay/errors             {"spelling"?: "old|new", "signed"?: true}
 *   POST /wechatpay/probes             {"percent"}                           of notifications that a probe precedes
 *   POST /wechatpay/bill-change        {"day", "kind": "drop", "no"} or {"day", "kind": "alter", "no", "amount_fen"}
 *                                      or {"day", "kind": "add", "out_trade_no", "amount_fen", "out_refund_no"?}
 *   POST /wechatpay/clock              {"advance_ms"}
 *   POST /wechatpay/faults             {"operation", "kind", "ordinal"?, "times"?, "delayMs"?, "committed"?, "code"?, "subCode"?}
 *   POST /wechatpay/faults/clear       {}
 *   POST /wechatpay/release            {}                                    the answers kept back by `hold`
 *   POST /wechatpay/notification-plan  {"mode", "times"?}                    modes: notification-modes.ts; kinds of faults: faults.ts
 *   POST /wechatpay/redeliver          {"id"}
 *   POST /wechatpay/idle               {}                                    answers once no delivery is in flight
 *   GET  /wechatpay/orders             GET /wechatpay/orders/<out_trade_no>
 *   GET  /wechatpay/events             GET /wechatpay/notifications
 */
import type { Arguments } from '../control-arguments.js';
import { answerControl, type ControlRoutes } from '../control-http.js';
import type { HttpReply, HttpRequest } from '../http.js';
import type { BillChange } from './bills.js';
import type { WechatPayControl } from './control.js';
import { NOTIFICATION_MODES } from './notification-modes.js';
import type { Spelling } from './refusal.js';
import { KEY_MODES } from './signer.js';

type Routes = ControlRoutes<WechatPayControl>;

const acts: Routes['acts'] = {
  'buyer-scans': (control, given) => control.buyerScans(given.text('out_trade_no')),
  'buyer-opens': (control, given) => control.buyerOpens(openingOf(given)),
  'buyer-pays': (control, given) => {
    const amount = given.amount('amount_fen');
    const options = amount === null ? {} : { amountOverride: amount };
    return given.has('qr_code') ? control.buyerPaysQr(given.text('qr_code'), options) : control.buyerPays(given.text('out_trade_no'), options);
  },
  'payment-fails': (control, given) => control.paymentFails(given.text('out_trade_no')),
  expire: (control, given) => control.expire(given.text('out_trade_no')),
  'trade-state': (control, given) => control.forceTradeState(given.text('out_trade_no'), given.has('state') ? given.text('state') : null),
  'refund-settles': (control, given) => control.refundSettles(given.text('out_refund_no')),
  'refund-becomes-abnormal': (control, given) => control.refundBecomesAbnormal(given.text('out_refund_no')),
  'refund-closes': (control, given) => control.refundCloses(given.text('out_refund_no')),
  'refund-delay': (control, given) => control.setRefundSettlesAfter(given.count('ms') ?? null),
  'refund-outside': (control, given) => control.refundOutside(given.text('out_trade_no'), given.amount('amount_fen') ?? 0n),
  balance: (control, given) => control.setBalance(given.amount('amount_fen')),
  'sign-with': (control, given) => control.signWith(given.oneOf('mode', KEY_MODES)),
  errors: (control, given) =>
    control.setErrors({ spelling: given.has('spelling') ? given.oneOf<Spelling>('spelling', ['old', 'new']) : undefined, isSigned: given.flag('signed') }),
  probes: (control, given) => control.setProbeShare((given.count('percent') ?? 0) / 100),
  'bill-change': (control, given) => control.changeBill(billChangeOf(given)),
  clock: (control, given) => {
    control.advanceClock(given.count('advance_ms') ?? 0);
    return { now: control.now() };
  },
  faults: (control, given) => control.faults.add(given.fault()),
  'faults/clear': (control) => control.faults.clear(),
  release: (control) => control.release(),
  'notification-plan': (control, given) => control.notificationPlan(given.plan(NOTIFICATION_MODES)),
  redeliver: (control, given) => control.redeliver(given.text('id')),
  idle: (control) => control.idle(),
};

const views: Routes['views'] = {
  orders: (control, name) => (name === '' ? control.listOrders() : control.getOrder(name)),
  events: (control) => control.events(),
  notifications: (control) => control.notifications(),
};

export const answerWechatPayControl = (control: WechatPayControl, request: HttpRequest): Promise<HttpReply> =>
  answerControl({ place: 'wechatpay', acts, views }, control, request);

const OPENING = ['appId', 'timeStamp', 'nonceStr', 'package', 'signType', 'paySign', 'appid', 'partnerid', 'prepayid', 'noncestr', 'timestamp', 'sign'];

const openingOf = (given: Arguments): Record<string, string> =>
  Object.fromEntries(OPENING.filter((name) => given.has(name)).map((name) => [name, given.text(name)]));

function billChangeOf(given: Arguments): BillChange {
  const day = given.text('day');
  const kind = given.oneOf('kind', ['drop', 'alter', 'add']);
  if (kind === 'drop') return { day, kind, no: given.text('no') };
  const amount = given.amount('amount_fen') ?? 0n;
  if (kind === 'alter') return { day, kind, no: given.text('no'), amount };
  return { day, kind, outTradeNo: given.text('out_trade_no'), amount, ...(given.has('out_refund_no') ? { outRefundNo: given.text('out_refund_no') } : {}) };
}
