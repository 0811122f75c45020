import { isLegalRefundTransition, REFUND_STATUSES, type RefundStatus } from '../../src/refund/refund-status.js';

const TABLE = `
           CREATED SUBMITTED UNKNOWN ABNORMAL SUCCEEDED FAILED CANCELED REVERSED
CREATED    .       x         x       .        x         x      x        .
SUBMITTED  .       .         x       x        x         x      .        .
UNKNOWN    .       x         .       x        x         x      .        .
ABNORMAL   .       x         .       .        x         x      .        .
SUCCEEDED  .       .         .       .        .         .      .        x
FAILED     .       .         .       .        .         .      .        .
CANCELED   .       .         .       .        .         .      .        .
REVERSED   .       .         .       .        .         .      .        .`;

const [header, ...rows] = TABLE.trim().split('\n').map((line) => line.trim().split(/\s+/));
const cells = rows.flatMap(([from, ...marks]) => marks.map((mark, index) => ({ from, to: header![index], legal: mark === 'x' })));

test('the table covers every pair of statuses', () => {
  expect(cells).toHaveLength(REFUND_STATUSES.length ** 2);
});

test.each(cells)('$from → $to is legal: $legal', ({ from, to, legal }) => {
  expect(isLegalRefundTransition(from as RefundStatus, to as RefundStatus)).toBe(legal);
});
