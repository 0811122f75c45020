/**
 * What a buyer and a test may do, over HTTP on a port of its own that no adapter is configured with:
 *
 *   POST /alipay/buyer-scans    {"out_trade_no": "…"}
 *   POST /alipay/buyer-pays     {"out_trade_no": "…" or "qr_code": "…", "amount_fen"?: "…"}
 *   POST /alipay/refund-outside {"out_trade_no": "…", "amount_fen": "…"}      a refund made in the merchant's own console
 *   POST /alipay/finish         {"out_trade_no": "…"}                          the refund window ends
 *   POST /alipay/balance        {"amount_fen": "…" or null}
 *   POST /alipay/fault          {"operation": "alipay.trade.refund", "kind": "commit-then-drop", "times"?: 1, "after"?: 0}
 *   POST /alipay/notifications  {"mode": "normal|duplicate|never|forged|altered-amount|truncated"} or {"again": "<notify_id>"}
 *   POST /alipay/clock          {"advance_ms": 60000}
 *   GET  /alipay/trades         the platform's book          GET /alipay/notifications   what was sent and how it was answered
 */
import type { Fault } from '../faults.js';
import type { Exchange, Reply } from '../http.js';
import type { NotificationMode } from './notifications.js';
import type { AlipayControl } from './server.js';

export function answerControl(control: AlipayControl, { method, url, body }: Exchange): Reply {
  const path = url.pathname;
  if (method === 'GET' && path === '/alipay/trades') return json([...control.book.trades.values()]);
  if (method === 'GET' && path === '/alipay/notifications') return json({ sent: control.notifications.sent, attempts: control.attempts });
  if (method !== 'POST') return json({ error: `no ${method} ${path}` }, 404);

  const given = JSON.parse(body.toString('utf8') || '{}') as Record<string, string | number | null>;
  const text = (name: string): string => String(given[name] ?? '');
  const order = given['qr_code'] === undefined ? text('out_trade_no') : control.orderOfQr(text('qr_code'));
  const amount = given['amount_fen'] == null ? undefined : BigInt(given['amount_fen']);
  switch (path) {
    case '/alipay/buyer-scans':
      return json(control.buyerScans(order));
    case '/alipay/buyer-pays':
      return json(control.buyerPays(order, amount));
    case '/alipay/refund-outside':
      return json(control.refundOutside(order, amount ?? 0n));
    case '/alipay/finish':
      return json(control.finish(order));
    case '/alipay/balance':
      control.book.balance = amount ?? null;
      return json({});
    case '/alipay/fault':
      control.fault(given as unknown as Fault);
      return json({});
    case '/alipay/notifications':
      if (given['again'] !== undefined) control.notifications.again(text('again'));
      else control.notifications.mode = text('mode') as NotificationMode;
      return json({});
    case '/alipay/clock':
      control.advanceClock(Number(given['advance_ms']));
      return json({});
    default:
      return json({ error: `no ${method} ${path}` }, 404);
  }
}

function json(value: unknown, status = 200): Reply {
  const body = JSON.stringify(value, (_key, inner: unknown) => (typeof inner === 'bigint' ? inner.toString() : inner), 2);
  return { status, type: 'application/json', body: `${body}\n` };
}
