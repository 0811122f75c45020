/** The platform's "no": HTTP status, `code` and `message` as in wechatpay.md section 8. Codes are spelled the new way inside. */
export class Refusal extends Error {
  override readonly name = 'Refusal';

  constructor(
    readonly code: string,
    message: string,
    readonly more: { readonly status?: number; readonly detail?: Readonly<Record<string, unknown>>; readonly internalCode?: number } = {},
  ) {
    super(message);
  }
}

export type Spelling = 'old' | 'new';

export interface Spelled {
  readonly status: number;
  readonly code: string;
}

/** Status and code as they go out; a code that the platform's pages do not have is a 400. */
export function spelled({ code, more }: Refusal, spelling: Spelling): Spelled {
  const old = spelling === 'old' ? OLD[code] : undefined;
  return old ?? { code, status: more.status ?? STATUS[code.replaceAll('_', '')] ?? 400 };
}

/** A field of body, query or path is missing or wrong; `field` is a JSON pointer in bodies. */
export const invalidParameter = (field: string, issue: string, location: 'body' | 'query' | 'path' | 'header' = 'body'): Refusal =>
  new Refusal('PARAM_ERROR', '参数错误', { detail: { field, issue, location } });

export const invalidRequest = (message: string, internalCode?: number): Refusal =>
  new Refusal('INVALID_REQUEST', message, internalCode === undefined ? {} : { internalCode });

export const orderNotExist = (): Refusal => new Refusal('ORDER_NOT_EXIST', '订单不存在', { internalCode: 268512771 });
export const orderPaid = (): Refusal => new Refusal('ORDER_PAID', '该订单已支付', { internalCode: 268449538 });
export const orderClosed = (): Refusal => new Refusal('ORDER_CLOSED', '该订单已关闭', { internalCode: 268447914 });
export const resourceNotExists = (message: string): Refusal => new Refusal('RESOURCE_NOT_EXISTS', message);
export const refundNotExists = (): Refusal => resourceNotExists('退款单不存在');
export const rateLimited = (message: string): Refusal => new Refusal('FREQUENCY_LIMITED', message, { internalCode: 268447840 });

/** By the code without its underscores. */
const STATUS: Readonly<Record<string, number>> = {
  ORDERPAID: 403,
  SIGNERROR: 401,
  OUTTRADENOUSED: 403,
  NOAUTH: 403,
  RULELIMIT: 403,
  REQUESTBLOCKED: 403,
  TRADEERROR: 403,
  NOTENOUGH: 403,
  ACCOUNTERROR: 403,
  USERACCOUNTABNORMAL: 403,
  ORDERNOTEXIST: 404,
  RESOURCENOTEXISTS: 404,
  NOTFOUND: 404,
  METHODNOTALLOWED: 405,
  FREQUENCYLIMITED: 429,
  FREQUENCYLIMITEXCEED: 429,
  RATELIMITEXCEEDED: 429,
  SYSTEMERROR: 500,
  BANKERROR: 500,
};

/** What the older pages write differently. */
const OLD: Readonly<Record<string, Spelled>> = {
  ORDER_PAID: { code: 'ORDERPAID', status: 400 },
  ORDER_NOT_EXIST: { code: 'ORDERNOTEXIST', status: 404 },
  NO_AUTH: { code: 'NOAUTH', status: 403 },
  RULE_LIMIT: { code: 'RULELIMIT', status: 403 },
  ACCOUNT_ERROR: { code: 'ACCOUNTERROR', status: 403 },
  BANK_ERROR: { code: 'BANKERROR', status: 500 },
  FREQUENCY_LIMITED: { code: 'FREQUENCY_LIMIT_EXCEED', status: 429 },
};
