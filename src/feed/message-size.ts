import type { Payment } from '../payment/payment.js';

/** Clients refuse messages above 4 MiB by default; a message of the watch stays far below 1 MiB. */
const MESSAGE_BYTES_MAX = 512 * 1024;
/** Numbers, names, times and everything else that has a small bound. */
const FIXED_BYTES = 1_024;

/** How many of the payments, from the first on, fit into one message; at least one. */
export function countThatFits(payments: readonly Payment[]): number {
  let bytes = 0;
  const over = payments.findIndex((payment) => {
    bytes += approximateBytes(payment);
    return bytes > MESSAGE_BYTES_MAX;
  });
  return over === -1 ? payments.length : Math.max(1, over);
}

function approximateBytes({ subject, metadata, checkout, returnUrl }: Payment): number {
  const texts = [subject, ...Object.entries(metadata).flat(), checkout?.value ?? '', returnUrl ?? ''];
  return FIXED_BYTES + texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
}
