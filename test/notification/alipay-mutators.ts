/** What only Alipay's notifications have: an algorithm that the message names, a charset, and two rules for the signed text. */
import iconv from 'iconv-lite';
import type { AlipaySimulator } from '../../src/simulator/alipay/server.js';
import { notificationText, requestText } from '../../src/simulator/alipay/signature.js';
import { formMutators } from './form-mutators.js';
import { readEntries, valueOf, withBody, withEntries, withValue, type Entry, type Input } from './input.js';
import type { Mutator } from './mutators.js';
import { SignatureMemory, WRONG_ALGORITHMS } from './signature-mutators.js';

const FORM = {
  signatureField: 'sign',
  unsigned: ['sign', 'sign_type'],
  precious: ['out_trade_no', 'total_amount', 'trade_status', 'trade_no', 'app_id', 'seller_id', 'notify_id', 'refund_fee', 'out_biz_no', 'gmt_payment', 'notify_type'],
};

export function alipayMutators({ keys, appPrivateKeyPem }: Pick<AlipaySimulator, 'keys' | 'appPrivateKeyPem'>): Mutator[] {
  const memory = new SignatureMemory();
  const textOf = (entries: readonly Entry[]): Buffer => Buffer.from(notificationText(new Map(entries)), 'utf8');
  const onEntries = (name: string, weight: number, change: (entries: Entry[], random: Parameters<Mutator['mutate']>[1]) => readonly Entry[]): Mutator => ({
    name,
    weight,
    mutate: (input, random) => withEntries(input, change(readEntries(input), random)),
  });

  return [
    ...formMutators(FORM),
    onEntries('other sign_type', 2, (entries, random) =>
      withValue(entries, 'sign_type', random.pick([null, '', 'RSA', 'rsa2', 'RSA2 ', ' RSA2', 'RSA-2', 'RSA3', 'MD5', 'DSA', 'HMAC', 'none', '0', 'RSA2,RSA', '__proto__'])),
    ),
    onEntries('downgraded by the right key', 2, (entries, random) => {
      const algorithm = random.pick(WRONG_ALGORITHMS);
      const told = withValue(entries, 'sign_type', random.pick(['RSA2', 'RSA2', algorithm === 'RSA-SHA1' ? 'RSA' : algorithm]));
      return withValue(told, 'sign', memory.sign(textOf(told), algorithm, keys.alipayPrivateKeyPem));
    }),
    // What the platform signs by this rule is no notification of a trade.
    onEntries('sign_type inside the signed text', 1, (entries) =>
      withValue(entries, 'sign', memory.sign(Buffer.from(requestText(new Map(entries)), 'utf8'), 'RSA-SHA256', keys.alipayPrivateKeyPem)),
    ),
    onEntries("signed by the application's key", 1, (entries) => withValue(entries, 'sign', memory.sign(textOf(entries), 'RSA-SHA256', appPrivateKeyPem))),
    { name: 'in GBK by the right key', weight: 0.5, mutate: (input, random) => inGbk(input, random.pick(['gbk', 'GB2312', 'utf-8']), memory, keys.alipayPrivateKeyPem) },
  ];
}

/** Signed and written in GBK, with text that has other bytes there. */
function inGbk(input: Input, charset: string, memory: SignatureMemory, privateKeyPem: string): Input {
  const entries = withValue(withValue(readEntries(input), 'charset', charset), 'subject', '茶');
  const sign = memory.sign(iconv.encode(notificationText(new Map(entries)), 'gbk'), 'RSA-SHA256', privateKeyPem);
  const escaped = (text: string): string => [...iconv.encode(text, 'gbk')].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('');
  const all = withValue(entries, 'sign', sign);
  if (valueOf(all, 'sign') === '') return input;
  return withBody(input, all.map(([name, value]) => `${escaped(name)}=${escaped(value)}`).join('&'));
}
