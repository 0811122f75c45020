/** Amounts are bigint minor units beside an ISO 4217 code. There is no arithmetic on anything else, and no float anywhere. */
export interface Money {
  readonly currency: string;
  readonly minorUnits: bigint;
}

/** Far above any payment, far below int64, so that sums over a payment's refunds can never overflow a column. */
export const AMOUNT_MAX = 1_000_000_000_000_000n;

/** ISO 4217 minor-unit exponents of active currencies (published list one, 2024). Fund codes and metals are left out. */
const EXPONENTS: ReadonlyMap<string, 0 | 2 | 3> = new Map([
  ...codes(0, 'BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF'),
  ...codes(3, 'BHD IQD JOD KWD LYD OMR TND'),
  ...codes(
    2,
    'AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC ' +
      'CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES ' +
      'KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR ' +
      'NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT ' +
      'TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD YER ZAR ZMW ZWG',
  ),
]);

export const isCurrency = (code: string): boolean => EXPONENTS.has(code);

/** Minor units as a decimal string in major units: 1999 CNY → "19.99". */
export function formatDecimal(money: Money): string {
  const exponent = EXPONENTS.get(money.currency) ?? 2;
  if (exponent === 0) return money.minorUnits.toString();
  const sign = money.minorUnits < 0n ? '-' : '';
  const digits = (money.minorUnits < 0n ? -money.minorUnits : money.minorUnits).toString().padStart(exponent + 1, '0');
  return `${sign}${digits.slice(0, -exponent)}.${digits.slice(-exponent)}`;
}

/** A decimal string in major units as minor units, or null when it is not an unsigned number of that currency's digits. */
export function parseDecimal(text: string, currency: string): bigint | null {
  const exponent = EXPONENTS.get(currency) ?? 2;
  const match = /^(\d{1,13})(?:\.(\d{1,3}))?$/.exec(text);
  if (match === null) return null;
  const [, whole = '', fraction = ''] = match;
  if (fraction.length > exponent) return null;
  return BigInt(whole + fraction.padEnd(exponent, '0'));
}

function codes<E extends 0 | 2 | 3>(exponent: E, list: string): [string, E][] {
  return list.split(' ').map((code) => [code, exponent]);
}
