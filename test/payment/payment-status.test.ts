import {
  isLegalTransition,
  legalPath,
  PAYMENT_STATUSES,
  PAYMENT_TRANSITIONS,
  statusClass,
  type PaymentStatus,
} from '../../src/payment/payment-status.js';

/** The whole table, written down a second time on purpose: a row for each status, an x for each status it may turn into. */
const TABLE = `
                    PENDING PROCESSING UNKNOWN SUCCEEDED PARTIALLY_REFUNDED REFUNDED FAILED CLOSED CANCELED REVIEW
PENDING             .       x          x       x         .                  .        x      x      x        x
PROCESSING          x       .          x       x         .                  .        x      x      x        x
UNKNOWN             x       x          .       x         .                  .        x      x      x        x
SUCCEEDED           .       .          .       .         x                  x        .      .      .        x
PARTIALLY_REFUNDED  .       .          .       x         x                  x        .      .      .        x
REFUNDED            .       .          .       x         x                  .        .      .      .        x
FAILED              .       .          .       .         .                  .        .      .      .        x
CLOSED              .       .          .       .         .                  .        .      .      .        x
CANCELED            .       .          .       .         .                  .        .      .      .        x
REVIEW              x       x          x       x         x                  x        x      x      x        .`;

const [header, ...rows] = TABLE.trim().split('\n').map((line) => line.trim().split(/\s+/));
const cells = rows.flatMap(([from, ...marks]) => marks.map((mark, index) => ({ from, to: header![index], legal: mark === 'x' })));

test('the table covers every pair of statuses', () => {
  expect(cells).toHaveLength(PAYMENT_STATUSES.length ** 2);
});

test.each(cells)('$from → $to is legal: $legal', ({ from, to, legal }) => {
  expect(isLegalTransition(from as PaymentStatus, to as PaymentStatus)).toBe(legal);
});

const pairs = PAYMENT_STATUSES.flatMap((from) => PAYMENT_STATUSES.map((to) => [from, to] as const));

test.each(pairs)('the path %s → %s takes legal edges only and never leaves paid for unpaid', (from, to) => {
  let at: PaymentStatus = from;
  for (const next of legalPath(from, to)) {
    expect(PAYMENT_TRANSITIONS[at]).toContain(next);
    if (statusClass(at) === 'PAID') expect(['PAID', 'REVIEW']).toContain(statusClass(next));
    at = next;
  }
  expect(at).toBe(to);
  expect(legalPath(from, to).length).toBeLessThanOrEqual(2);
});
