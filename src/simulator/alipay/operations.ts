/** The calls of the gateway that answer JSON, one per method of alipay.md sections 1 and 5. */
import { success, type Node } from './answers.js';
import type { Bills } from './bills.js';
import type { Content } from './content.js';
import { beijing, yuan } from './format.js';
import type { Keyring } from './keyring.js';
import { businessRefusal, invalidArgument, notPermitted, Refusal, tradeNotExist } from './refusal.js';
import type { Refunds } from './refunds.js';
import { BUYER, refundedOf, reportedTotal, tradeAsOf, type Refund, type Trade } from './trade.js';
import type { Book } from './trades.js';

export interface Call {
  readonly method: string;
  readonly content: Content;
  readonly notifyUrl: string | null;
  readonly returnUrl: string | null;
  /** Where the caller reaches the simulator. */
  readonly origin: string;
  /** Accept a refund without carrying it out. */
  readonly withholdRefund: boolean;
  /** How far behind the book is that a query reads. */
  readonly lagMs: number;
}

export interface Platform {
  readonly book: Book;
  readonly refunds: Refunds;
  readonly bills: Bills;
  readonly keyring: Keyring;
  /** A refund is not yet seen by its query for this long. */
  readonly refundVisibleAfterMs: number;
  payOutcome: PayOutcome;
}

/** How a customer-presented code fares. */
export type PayOutcome = 'paid' | 'waiting' | 'refused';

type Operation = (platform: Platform, call: Call) => Node;

const OPERATIONS: Readonly<Record<string, Operation>> = {
  'alipay.trade.precreate': ({ book }, call) => {
    const { outTradeNo, qrCode } = book.place(call);
    return success({ out_trade_no: outTradeNo, qr_code: qrCode });
  },
  'alipay.trade.create': ({ book }, call) => {
    const trade = book.open(book.place(call).outTradeNo);
    return success({ trade_no: trade.tradeNo, out_trade_no: trade.outTradeNo });
  },
  'alipay.trade.pay': pay,
  'alipay.trade.query': ({ book }, call) => success(tradeNode(lookUp(book, call))),
  'alipay.trade.close': ({ book }, { content }) => {
    const trade = book.find(content);
    book.close(trade);
    return success(numbers(trade));
  },
  'alipay.trade.cancel': cancel,
  'alipay.trade.refund': refund,
  'alipay.trade.fastpay.refund.query': refundQuery,
  'alipay.trade.refund.apply': () => {
    throw notPermitted('ISV权限不足');
  },
  'alipay.data.dataservice.bill.downloadurl.query': ({ bills }, { content, origin }) => success({ bill_download_url: bills.apply(content, origin) }),
  'alipay.open.app.alipaycert.download': certificateDownload,
};

export function operate(platform: Platform, call: Call): Node {
  const operation = Object.hasOwn(OPERATIONS, call.method) ? OPERATIONS[call.method] : undefined;
  if (operation === undefined) throw invalidArgument('isv.invalid-method', '不存在的方法名');
  return operation(platform, call);
}

export const isOperation = (method: string): boolean => Object.hasOwn(OPERATIONS, method);

function pay({ book, payOutcome }: Platform, call: Call): Node {
  if (!/^(2[5-9]|30)\d{14,22}$/.test(call.content.required('auth_code'))) throw businessRefusal('ACQ.PAYMENT_AUTH_CODE_INVALID', '支付授权码无效');
  const placed = book.place(call);
  if (payOutcome === 'refused') throw businessRefusal('ACQ.BUYER_PAYMENT_AMOUNT_DAY_LIMIT_ERROR', '买家付款日限额超限');
  if (payOutcome === 'waiting') {
    const trade = book.open(placed.outTradeNo);
    return { ...success(numbers(trade)), code: '10003', msg: 'order success pay inprocess' };
  }
  return success(tradeNode(book.pay(placed.outTradeNo)));
}

/** A trade that is not there is a success without an action. */
function cancel({ book, refunds }: Platform, { content }: Call): Node {
  try {
    const trade = book.find(content);
    const action = refunds.cancel(trade);
    return success({ ...numbers(trade), retry_flag: 'N', ...(action === null ? {} : { action }) });
  } catch (error) {
    if (!(error instanceof Refusal) || error.subCode !== 'ACQ.TRADE_NOT_EXIST') throw error;
    return success({ out_trade_no: content.optional('out_trade_no') ?? '', retry_flag: 'N' });
  }
}

function refund({ book, refunds }: Platform, { content, withholdRefund }: Call): Node {
  const trade = book.find(content);
  const moved = withholdRefund ? null : refunds.request(trade, content);
  return success({
    ...numbers(trade),
    ...BUYER,
    fund_change: moved === null ? 'N' : 'Y',
    // Cumulative for the trade, unlike `refund_amount` of the refund query.
    refund_fee: yuan(refundedOf(trade)),
    send_back_fee: yuan(moved?.amount ?? 0n),
    ...(moved === null ? {} : { gmt_refund_pay: beijing(moved.at), ...details(content, moved) }),
  });
}

/** A refund that is not there, or not yet to be seen, is a success without a word about it. */
function refundQuery({ book, refundVisibleAfterMs }: Platform, call: Call): Node {
  const { content } = call;
  const requestNo = content.required('out_request_no');
  const trade = lookUp(book, call);
  const found = trade.refunds.find((one) => one.requestNo === requestNo);
  if (found === undefined || book.now() < found.at + refundVisibleAfterMs) return success();
  return success({
    refund_status: 'REFUND_SUCCESS',
    ...numbers(trade),
    out_request_no: found.requestNo,
    total_amount: yuan(reportedTotal(trade)),
    refund_amount: yuan(found.amount),
    ...(found.reason === null ? {} : { refund_reason: found.reason }),
    ...details(content, found),
  });
}

function lookUp(book: Book, { content, lagMs }: Call): Trade {
  const trade = book.find(content);
  const seen = lagMs === 0 ? trade : tradeAsOf(trade, book.now() - lagMs);
  if (seen === null) throw tradeNotExist();
  return seen;
}

function certificateDownload({ keyring }: Platform, { content }: Call): Node {
  const pem = keyring.certificateNamed(content.required('alipay_cert_sn'));
  if (pem === null) throw invalidArgument('isv.alipay-cert-not-exist', '支付宝公钥证书不存在');
  return success({ alipay_cert_content: Buffer.from(pem).toString('base64') });
}

const numbers = ({ tradeNo, outTradeNo }: Trade): Node => ({ trade_no: tradeNo, out_trade_no: outTradeNo });

function tradeNode(trade: Trade): Node {
  const paid = yuan(trade.paid ?? 0n);
  return {
    trade_status: trade.forcedStatus ?? trade.status,
    ...numbers(trade),
    total_amount: yuan(reportedTotal(trade)),
    subject: trade.subject,
    ...(trade.body === null ? {} : { body: trade.body }),
    ...BUYER,
    receipt_amount: paid,
    buyer_pay_amount: paid,
    point_amount: '0.00',
    invoice_amount: paid,
    ...(trade.passbackParams === null ? {} : { passback_params: trade.passbackParams }),
    ...(trade.paidAt === null ? {} : { send_pay_date: beijing(trade.paidAt), fund_bill_list: [{ amount: paid, fund_channel: 'ALIPAYACCOUNT' }] }),
  };
}

function details(content: Content, { amount, at }: Refund): Node {
  const asked = content.texts('query_options');
  return {
    ...(asked.includes('refund_detail_item_list') ? { refund_detail_item_list: [{ amount: yuan(amount), fund_channel: 'ALIPAYACCOUNT' }] } : {}),
    ...(asked.includes('gmt_refund_pay') ? { gmt_refund_pay: beijing(at) } : {}),
  };
}
