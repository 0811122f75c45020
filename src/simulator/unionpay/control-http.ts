/**
 * The control of the simulated UnionPay over HTTP, on a port that no adapter is configured with. Bodies and answers are JSON, amounts
 * are texts in fen, operations are those of operations.ts (`pay`, `query`, `refund`, `void`, `bill`). A transaction is named by its
 * `order_id`, or by `<orderId>@<txnTime>` where there are several. What cannot be done answers 409.
 *
 *   POST /unionpay/buyer-pays         {"order_id" or "qr_code", "amount_fen"?, "code"?: "00|A6"}    `qr_code`: also a `tn`
 *   POST /unionpay/payment-fails      {"order_id", "code"?}                 an attempt; the buyer may try again
 *   POST /unionpay/expire             {"order_id"}
 *   POST /unionpay/code               {"order_id", "code" or null}          `origRespCode` of a query in place of the truth
 *   POST /unionpay/refund-settles     {"order_id", "code"?: "00|A6"}        also of a void
 *   POST /unionpay/refund-fails       {"order_id", "code"?}                 also of a void
 *   POST /unionpay/refund-delay       {"ms" or null}                        from acceptance to success; null never by itself
 *   POST /unionpay/refund-outside     {"order_id", "amount_fen"}
 *   POST /unionpay/balance            {"amount_fen" or null}
 *   POST /unionpay/req-reserved       {"text" or null}                      what answers carry where the request had none
 *   POST /unionpay/renew-certificate  {}
 *   POST /unionpay/bill-change        {"day", "kind": "drop", "order_id"} or {"day", "kind": "alter|adjust", "order_id", "amount_fen"}
 *                                     or {"day", "kind": "add", "order_id", "amount_fen", "orig_order_id"?}
 *   POST /unionpay/clock              {"advance_ms"}
 *   POST /unionpay/faults             {"operation", "kind", "ordinal"?, "times"?, "delayMs"?, "committed"?, "code"?}
 *                                     `code` of `bad-signature`: one of SIGNATURE_FLAWS in signer.ts
 *   POST /unionpay/faults/clear       {}
 *   POST /unionpay/release            {}                                    the answers kept back by `hold`
 *   POST /unionpay/notification-plan  {"mode", "times"?}                    modes: notification-modes.ts; kinds of faults: faults.ts
 *   POST /unionpay/redeliver          {"id"}
 *   POST /unionpay/idle               {}                                    answers once no delivery is in flight
 *   GET  /unionpay/orders             GET /unionpay/orders/<order_id>
 *   GET  /unionpay/events             GET /unionpay/notifications
 */
import type { Arguments } from '../control-arguments.js';
import { answerControl, type ControlRoutes } from '../control-http.js';
import type { HttpReply, HttpRequest } from '../http.js';
import type { Paying, UnionPayControl } from './control.js';
import { NOTIFICATION_MODES } from './notification-modes.js';
import type { BillChange } from './settlement.js';

type Routes = ControlRoutes<UnionPayControl>;

const acts: Routes['acts'] = {
  'buyer-pays': (control, given) =>
    given.has('qr_code') ? control.buyerPaysQr(given.text('qr_code'), payingOf(given)) : control.buyerPays(orderOf(given), payingOf(given)),
  'payment-fails': (control, given) => control.paymentFails(orderOf(given), optional(given, 'code')),
  expire: (control, given) => control.expire(orderOf(given)),
  code: (control, given) => control.forceCode(orderOf(given), optional(given, 'code') ?? null),
  'refund-settles': (control, given) => control.refundSettles(orderOf(given), optional(given, 'code')),
  'refund-fails': (control, given) => control.refundFails(orderOf(given), optional(given, 'code')),
  'refund-delay': (control, given) => control.setRefundSettlesAfter(given.count('ms') ?? null),
  'refund-outside': (control, given) => control.refundOutside(orderOf(given), given.amount('amount_fen') ?? 0n),
  balance: (control, given) => control.setBalance(given.amount('amount_fen')),
  'req-reserved': (control, given) => control.setReqReserved(optional(given, 'text') ?? null),
  'renew-certificate': (control) => control.renewCertificate(),
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

export const answerUnionPayControl = (control: UnionPayControl, request: HttpRequest): Promise<HttpReply> =>
  answerControl({ place: 'unionpay', acts, views }, control, request);

const orderOf = (given: Arguments): string => given.text('order_id');

const optional = (given: Arguments, name: string): string | undefined => (given.has(name) ? given.text(name) : undefined);

function payingOf(given: Arguments): Paying {
  const amount = given.amount('amount_fen');
  const code = optional(given, 'code');
  return { ...(amount === null ? {} : { amountOverride: amount }), ...(code === undefined ? {} : { code }) };
}

function billChangeOf(given: Arguments): BillChange {
  const common = { day: given.text('day'), orderId: orderOf(given) };
  const kind = given.oneOf('kind', ['drop', 'alter', 'add', 'adjust']);
  if (kind === 'drop') return { ...common, kind };
  const amount = given.amount('amount_fen') ?? 0n;
  if (kind !== 'add') return { ...common, kind, amount };
  const origOrderId = optional(given, 'orig_order_id');
  return { ...common, kind, amount, ...(origOrderId === undefined ? {} : { origOrderId }) };
}
