/**
 * The control of the simulated Alipay over HTTP, on a port of its own that no adapter is configured with. Bodies and answers are
 * JSON, amounts are texts in fen, operations may be short (`refund` for `alipay.trade.refund`), and the download of a bill is
 * `bill-file`. What cannot be done answers 409.
 *
 *   POST /alipay/buyer-scans        {"out_trade_no"}
 *   POST /alipay/buyer-opens        {"signed_parameters"}            of app.pay, page.pay or wap.pay
 *   POST /alipay/buyer-pays         {"out_trade_no" or "qr_code", "amount_fen"?}
 *   POST /alipay/payment-fails      {"out_trade_no"}
 *   POST /alipay/pay-outcome        {"outcome": "paid|waiting|refused"}   of customer-presented codes
 *   POST /alipay/refund-outside     {"out_trade_no", "amount_fen"}
 *   POST /alipay/balance            {"amount_fen" or null}
 *   POST /alipay/freeze             {"out_trade_no", "frozen": true}
 *   POST /alipay/trade-status       {"out_trade_no", "status"?}         what queries say; without a status the truth
 *   POST /alipay/expire             {"out_trade_no"}
 *   POST /alipay/finish             {"out_trade_no"}                  the time to refund is over
 *   POST /alipay/bill-change        {"day", "kind": "drop", "no"} or {"day", "kind": "alter", "no", "amount_fen"}
 *                                   or {"day", "kind": "add", "out_trade_no", "amount_fen", "out_request_no"?}
 *   POST /alipay/renew-certificate  {}                                in certificate mode: a new one under the same root
 *   POST /alipay/clock              {"advance_ms"}
 *   POST /alipay/faults             {"operation", "kind", "ordinal"?, "times"?, "delayMs"?, "committed"?, "code"?, "subCode"?}
 *   POST /alipay/faults/clear       {}
 *   POST /alipay/release            {}                                the answers kept back by `hold`
 *   POST /alipay/notification-plan  {"mode", "times"?}                modes: notifications.ts; kinds of faults: faults.ts
 *   POST /alipay/redeliver          {"notify_id"}
 *   POST /alipay/idle               {}                                answers once no delivery is in flight
 *   GET  /alipay/trades             GET /alipay/trades/<out_trade_no>
 *   GET  /alipay/events             GET /alipay/notifications         GET /alipay/return-url/<out_trade_no>
 *
 *   curl -s localhost:50054/alipay/buyer-pays -d '{"out_trade_no": "P1"}'
 */
import type { Arguments } from '../control-arguments.js';
import { answerControl, type ControlRoutes } from '../control-http.js';
import type { HttpReply, HttpRequest } from '../http.js';
import type { BillChange } from './bills.js';
import type { AlipayControl } from './control.js';
import { NOTIFICATION_MODES } from './notifications.js';

type Routes = ControlRoutes<AlipayControl>;

const acts: Routes['acts'] = {
  'buyer-scans': (control, given) => control.buyerScans(given.text('out_trade_no')),
  'buyer-opens': (control, given) => control.buyerOpens(given.text('signed_parameters')),
  'buyer-pays': (control, given) => {
    const amount = given.amount('amount_fen');
    const options = amount === null ? {} : { amountOverride: amount };
    return given.has('qr_code') ? control.buyerPaysQr(given.text('qr_code'), options) : control.buyerPays(given.text('out_trade_no'), options);
  },
  'payment-fails': (control, given) => control.paymentFails(given.text('out_trade_no')),
  'pay-outcome': (control, given) => control.setPayOutcome(given.oneOf('outcome', ['paid', 'waiting', 'refused'])),
  'refund-outside': (control, given) => control.refundOutside(given.text('out_trade_no'), given.amount('amount_fen') ?? 0n),
  balance: (control, given) => control.setBalance(given.amount('amount_fen')),
  freeze: (control, given) => control.freeze(given.text('out_trade_no'), given.flag('frozen') ?? true),
  'trade-status': (control, given) => control.forceTradeStatus(given.text('out_trade_no'), given.has('status') ? given.text('status') : null),
  expire: (control, given) => control.expire(given.text('out_trade_no')),
  finish: (control, given) => control.finish(given.text('out_trade_no')),
  'bill-change': (control, given) => control.changeBill(billChangeOf(given)),
  'renew-certificate': (control) => control.renewCertificate(),
  clock: (control, given) => {
    control.advanceClock(given.count('advance_ms') ?? 0);
    return { now: control.now() };
  },
  faults: (control, given) => control.faults.add(given.fault()),
  'faults/clear': (control) => control.faults.clear(),
  release: (control) => control.release(),
  'notification-plan': (control, given) => control.notificationPlan(given.plan(NOTIFICATION_MODES)),
  redeliver: (control, given) => control.redeliver(given.text('notify_id')),
  idle: (control) => control.idle(),
};

const views: Routes['views'] = {
  trades: (control, name) => (name === '' ? control.listTrades() : control.getTrade(name)),
  events: (control) => control.events(),
  notifications: (control) => control.notifications(),
  'return-url': (control, name) => ({ url: control.returnUrl(name) }),
};

export const answerAlipayControl = (control: AlipayControl, request: HttpRequest): Promise<HttpReply> =>
  answerControl({ place: 'alipay', acts, views }, control, request);

function billChangeOf(given: Arguments): BillChange {
  const day = given.text('day');
  const kind = given.oneOf('kind', ['drop', 'alter', 'add']);
  if (kind === 'drop') return { day, kind, no: given.text('no') };
  const amount = given.amount('amount_fen') ?? 0n;
  if (kind === 'alter') return { day, kind, no: given.text('no'), amount };
  return { day, kind, outTradeNo: given.text('out_trade_no'), amount, ...(given.has('out_request_no') ? { outRequestNo: given.text('out_request_no') } : {}) };
}
