/** The platform's "no": `respCode` and `respMsg` of unionpay.md section 7. */
export class Refusal extends Error {
  override readonly name = 'Refusal';

  constructor(
    readonly code: string,
    message?: string,
  ) {
    super(message ?? meaningOf(code));
  }
}

/** What a `respMsg` says: the meaning and a detail of seven digits. */
export const respMsg = (code: string, meaning = meaningOf(code)): string => `${meaning}[${DETAIL[code] ?? (/^\d\d$/.test(code) ? `61000${code}` : '6100099')}]`;

export const malformed = (name: string): Refusal => new Refusal('10', `报文格式错误：${name}`);
export const missing = (name: string): Refusal => new Refusal('13', `报文交易要素缺失：${name}`);
export const badSignature = (): Refusal => new Refusal('11');
export const duplicate = (): Refusal => new Refusal('12');
export const notFound = (): Refusal => new Refusal('34');
export const noFile = (): Refusal => new Refusal('98');

const meaningOf = (code: string): string => MEANING[code] ?? '交易失败';

const DETAIL: Readonly<Record<string, string>> = { '00': '0000000', '34': '2600000', '11': '9100004' };

const MEANING: Readonly<Record<string, string>> = {
  '00': '成功',
  A6: '有缺陷的成功',
  '01': '交易失败',
  '02': '系统未开放或暂时关闭',
  '03': '交易通讯超时，请发起查询交易',
  '04': '交易状态未明，请查询对账结果',
  '05': '交易已受理，请稍后查询',
  '06': '系统繁忙，请稍后再试',
  '10': '报文格式错误',
  '11': '验证签名失败',
  '12': '重复交易',
  '13': '报文交易要素缺失',
  '30': '交易未通过',
  '31': '商户状态不正确',
  '32': '无此交易权限',
  '33': '交易金额超限',
  '34': '查无此交易',
  '35': '原交易不存在或状态不正确',
  '36': '与原交易信息不符',
  '37': '已超过最大查询次数或操作过于频繁',
  '38': '银联风险受限',
  '39': '交易不在受理时间范围内',
  '42': '扣款成功但交易超过规定支付时间',
  '43': '业务未开通',
  '45': '原交易已被成功退货或已被成功撤销',
  '60': '交易失败，详情请咨询您的发卡行',
  '64': '您的余额不足',
  '69': '输入超时',
  '70': '交易已跳转，等待持卡人输入',
  '74': '扣款成功，销账未知',
  '75': '扣款成功，销账失败',
  '83': '发卡行交易处理中',
  '98': '文件不存在',
};
