/** What a front end opens the buyer's app with, signed by the merchant (wechatpay.md section 2). */
import { ControlError } from '../control-error.js';
import { signatureHolds, signedText } from './signature.js';

export interface Opening {
  readonly appid: string;
  readonly mchid: string;
  readonly merchantCertificatePem: string;
}

/** Answers the prepay id of JSAPI, mini-program and app parameters; throws where the buyer's app would not open. */
export function prepayIdOf(parameters: Readonly<Record<string, string>>, { appid, mchid, merchantCertificatePem }: Opening): string {
  const given = (name: string): string => {
    const value = parameters[name] ?? '';
    if (value === '') throw new ControlError(`${name} is missing`);
    return value;
  };
  const isJsapi = 'paySign' in parameters;
  const app = isJsapi ? given('appId') : given('appid');
  if (app !== appid) throw new ControlError(`the application is not ${app}`);
  if (isJsapi && given('signType') !== 'RSA') throw new ControlError('signType is not RSA');
  if (!isJsapi && given('package') !== 'Sign=WXPay') throw new ControlError('package is not Sign=WXPay');
  if (!isJsapi && given('partnerid') !== mchid) throw new ControlError(`the merchant is not ${given('partnerid')}`);

  const text = isJsapi
    ? signedText(app, given('timeStamp'), given('nonceStr'), given('package'))
    : signedText(app, given('timestamp'), given('noncestr'), given('prepayid'));
  if (!signatureHolds(text, given(isJsapi ? 'paySign' : 'sign'), merchantCertificatePem)) throw new ControlError('支付验证签名失败: the signature does not hold');
  if (!isJsapi) return given('prepayid');
  const match = /^prepay_id=(.+)$/.exec(given('package'));
  if (match === null) throw new ControlError('package is not prepay_id=…');
  return match[1] ?? '';
}
