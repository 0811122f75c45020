/** Opaque page tokens: a position, bound to the filter it was made for and sealed against invention. */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { fieldInvalid } from '../payment/errors.js';

const FORMAT = 1;
const SEAL_BYTES = 16;

export class PageTokens {
  constructor(private readonly key: string) {}

  /** `filter` is anything that must be the same on the next page; `position` is the last row's key. */
  seal(filter: object, position: string | null): string {
    if (position === null) return '';
    const body = Buffer.concat([Buffer.from([FORMAT]), Buffer.from(position)]);
    return Buffer.concat([body, this.sealOf(body, filter)]).toString('base64url');
  }

  /** The position of a token; null for the first page. FIELD_INVALID when it was not made here for this filter. */
  open(filter: object, token: string): string | null {
    if (token === '') return null;
    const bytes = Buffer.from(token, 'base64url');
    const body = bytes.subarray(0, -SEAL_BYTES);
    const genuine =
      bytes.toString('base64url') === token &&
      bytes.length > SEAL_BYTES + 1 &&
      body[0] === FORMAT &&
      timingSafeEqual(bytes.subarray(-SEAL_BYTES), this.sealOf(body, filter));
    if (genuine) return body.subarray(1).toString();
    throw fieldInvalid({ field: 'page_token', description: 'not a page token of this list and filter' });
  }

  private sealOf(body: Buffer, filter: object): Buffer {
    const filterHash = createHash('sha256').update(JSON.stringify(filter)).digest();
    return createHmac('sha256', this.key).update(body).update(filterHash).digest().subarray(0, SEAL_BYTES);
  }
}
