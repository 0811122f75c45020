/** Calls to UnionPay (ACP 5.1.0): signed out, verified in, and never an exception for what the platform or the network does. */
import type { KeyObject } from 'node:crypto';
import type { Call, Failure } from '../../payment/platform.js';
import { formBody, type Parameters } from '../form.js';
import { exchange } from '../http.js';
import { privateKeyOf } from '../rsa.js';
import type { UnionPaySettings } from './settings.js';
import { parseAnswer, signFields, whyUnproven, type AcpTrust } from './signature.js';

export type Answer =
  /** A verified answer, whatever its `respCode`. */
  | { readonly kind: 'OK'; readonly fields: Parameters }
  /** Nothing that can be believed: it may have been executed. */
  | (Failure & { readonly kind: 'UNKNOWN' | 'UNREACHABLE' });

export type Endpoint = 'frontTransReq.do' | 'backTransReq.do' | 'appTransReq.do' | 'queryTrans.do';

export class UnionPayClient {
  private readonly key: KeyObject;
  readonly trust: AcpTrust;

  constructor(private readonly settings: UnionPaySettings) {
    this.key = privateKeyOf(settings.signingKey);
    this.trust = settings;
  }

  urlOf(endpoint: Endpoint): string {
    return `${this.settings.gatewayUrl}${endpoint}`;
  }

  /** With what every request has in common, and signed. */
  signed(fields: Parameters): Parameters {
    const { merId, certId } = this.settings;
    const common = { version: '5.1.0', encoding: 'UTF-8', signMethod: '01', accessType: '0', merId, certId };
    return signFields({ ...common, ...fields }, this.key);
  }

  /** One POST, never repeated by itself: whether it was executed is a question for a query. */
  async post(endpoint: Endpoint, fields: Parameters, call: Call): Promise<Answer> {
    const headers = { 'content-type': 'application/x-www-form-urlencoded;charset=utf-8' };
    const sent = await exchange({ method: 'POST', url: this.urlOf(endpoint), headers, body: formBody(this.signed(fields)) }, call);
    if (sent.kind !== 'ANSWER') return sent;
    if (sent.status !== 200) return { kind: 'UNKNOWN', code: `HTTP_${sent.status}`, message: `the gateway answered HTTP ${sent.status}` };
    return this.read(sent.body.toString('utf8'), call.at);
  }

  read(text: string, at: Date): Answer {
    const fields = parseAnswer(text);
    if (fields === null) return { kind: 'UNKNOWN', code: 'BAD_ANSWER', message: 'the answer is not what the gateway sends' };
    const unproven = whyUnproven(fields, this.trust, at);
    if (unproven !== null) return { kind: 'UNKNOWN', code: 'BAD_SIGNATURE', message: `the answer is not proven to be the platform's: ${unproven}` };
    if (!this.isOurs(fields)) {
      return { kind: 'UNKNOWN', code: 'OTHER_MERCHANT', message: 'the answer is for another merchant' };
    }
    return { kind: 'OK', fields };
  }

  /** An answer need not name the merchant, but must not name another. */
  isOurs({ merId = this.settings.merId }: Parameters): boolean {
    return merId === this.settings.merId;
  }
}
