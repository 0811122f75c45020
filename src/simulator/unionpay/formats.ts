/** What the fields of a request may look like (unionpay.md section 2). */
import { fromStamp } from './format.js';
import { isPlainSafe } from './wire.js';

const pattern = (expression: RegExp) => (value: string) => expression.test(value);
const oneOf = (...allowed: readonly string[]) => (value: string) => allowed.includes(value);
const isTime = (value: string): boolean => fromStamp(value) !== null;
const isUrl = (value: string): boolean => value.length <= 256 && /^https?:\/\//i.test(value) && URL.canParse(value);

const FORMATS: Readonly<Record<string, (value: string) => boolean>> = {
  version: oneOf('5.1.0'),
  encoding: pattern(/^utf-8$/i),
  signMethod: oneOf('01'),
  certId: pattern(/^[1-9]\d{0,47}$/),
  txnType: pattern(/^\d{2}$/),
  txnSubType: pattern(/^\d{2}$/),
  bizType: pattern(/^\d{6}$/),
  channelType: oneOf('07', '08'),
  accessType: oneOf('0'),
  merId: pattern(/^[0-9A-Za-z]{15}$/),
  orderId: pattern(/^[0-9A-Za-z]{8,40}$/),
  txnTime: isTime,
  txnAmt: pattern(/^[1-9]\d{0,11}$/),
  currencyCode: oneOf('156'),
  frontUrl: isUrl,
  backUrl: isUrl,
  payTimeout: isTime,
  origQryId: pattern(/^\d{21}$/),
  queryId: pattern(/^\d{21}$/),
  // The platform only advises against `&={}[]`; what would break its answer apart is refused here.
  reqReserved: (value) => [...value].length <= 1024 && isPlainSafe(value),
  settleDate: (value) => isTime(`2024${value}000000`),
  fileType: oneOf('00'),
};

/** True for a field that has no rule. */
export const isWellFormed = (name: string, value: string): boolean => FORMATS[name]?.(value) ?? true;
