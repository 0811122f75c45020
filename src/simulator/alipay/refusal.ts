/** A platform's "no": `code` and `sub_code` as in alipay.md section 9. */
export class Refusal extends Error {
  override readonly name = 'Refusal';

  constructor(
    readonly code: string,
    readonly subCode: string,
    message: string,
  ) {
    super(message);
  }
}

/** Refused by the business rules: `40004`. */
export const businessRefusal = (subCode: string, message: string): Refusal => new Refusal('40004', subCode, message);

export const invalidParameter = (what: string): Refusal => businessRefusal('ACQ.INVALID_PARAMETER', `参数无效：${what}`);

export const tradeNotExist = (): Refusal => businessRefusal('ACQ.TRADE_NOT_EXIST', '交易不存在');

/** A required field is missing from `biz_content`. */
export const missing = (field: string): Refusal => new Refusal('40002', 'isv.invalid-parameter', `参数有误：${field}不能为空`);

export const invalidArgument = (subCode: string, message: string): Refusal => new Refusal('40002', subCode, message);
export const missingArgument = (subCode: string, message: string): Refusal => new Refusal('40001', subCode, message);

export const notPermitted = (message: string): Refusal => new Refusal('40006', 'isv.insufficient-isv-permissions', message);

export const rateLimited = (message: string): Refusal => new Refusal('40005', 'isv.app-call-limited', message);
