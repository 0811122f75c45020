/** Reads a payment out of a checked call. */
import { randomInt } from 'node:crypto';
import type { Book, New } from './book.js';
import { fromStamp } from './format.js';
import { ORDER_LIFE_MS, type Product, type Transaction } from './transaction.js';
import type { Fields } from './wire.js';

export function place(book: Book, product: Product, fields: Fields): Transaction {
  const given = fields.get('payTimeout') ?? '';
  const expireAt = given === '' ? book.now() + ORDER_LIFE_MS : fromStamp(given);
  return book.add({
    ...fieldsOf(fields),
    kind: 'payment',
    product,
    origQryId: null,
    opener: newOpener(product),
    expireAt,
    settlesAt: null,
    code: null,
  });
}

/** What payments, refunds and voids have in common. */
export function fieldsOf(fields: Fields): Omit<New, 'kind' | 'product' | 'origQryId' | 'opener' | 'expireAt' | 'settlesAt' | 'code'> {
  const text = (name: string): string => fields.get(name) ?? '';
  const optional = (name: string): string | null => (text(name) === '' ? null : text(name));
  return {
    orderId: text('orderId'),
    txnTime: text('txnTime'),
    txnType: text('txnType'),
    txnSubType: text('txnSubType'),
    bizType: text('bizType'),
    channelType: text('channelType'),
    amount: BigInt(text('txnAmt')),
    frontUrl: optional('frontUrl'),
    backUrl: optional('backUrl'),
    reqReserved: optional('reqReserved'),
    forcedCode: null,
    completedAt: null,
    paid: null,
  };
}

/** A `tn` for the app, the text of a code, nothing for a page. */
function newOpener(product: Product): string | null {
  if (product === 'page') return null;
  const number = digits(21);
  return product === 'app' ? number : `https://qr.95516.com/00010000/${number}`;
}

const digits = (count: number): string => Array.from({ length: count }, () => randomInt(10)).join('');
