/** What the fake knows: payments, refunds, requests that were carried out, and every change in one order. */
import { randomUUID } from 'node:crypto';
import { PaymentStatus, RefundStatus, type Payment, type Refund } from '../../gen/payment/v1/payment.js';
import type { PaymentEvent } from '../../gen/payment/v1/payment_service.js';
import { toTimestamp } from '../input.js';
import { Refusal } from './refusal.js';

interface DoneRequest {
  readonly body: string;
  readonly at: Date;
  readonly paymentId: string;
  readonly refundId: string;
  readonly outcome: number;
}

export const HOLDING: readonly RefundStatus[] = [
  RefundStatus.REFUND_STATUS_CREATED,
  RefundStatus.REFUND_STATUS_SUBMITTED,
  RefundStatus.REFUND_STATUS_UNKNOWN,
  RefundStatus.REFUND_STATUS_ABNORMAL,
];

export class FakeBook {
  readonly payments = new Map<string, Payment>();
  readonly refunds = new Map<string, Refund>();
  readonly events: PaymentEvent[] = [];
  private readonly requests = new Map<string, DoneRequest>();
  private readonly listeners = new Set<() => void>();
  private ids = 0;

  constructor(readonly now: () => Date) {}

  /** A UUIDv7: ids sort in the order in which they were given out. */
  newId(): string {
    const time = this.now().getTime().toString(16).padStart(12, '0');
    const number = (this.ids++ & 0xfff).toString(16).padStart(3, '0');
    return `${time.slice(0, 8)}-${time.slice(8)}-7${number}${randomUUID().slice(18)}`;
  }

  payment(paymentId: string): Payment {
    const payment = this.payments.get(paymentId.toLowerCase());
    if (payment !== undefined) return payment;
    throw new Refusal('PAYMENT_NOT_FOUND', `there is no payment ${paymentId}`, { metadata: { payment_id: paymentId } });
  }

  refund(refundId: string): Refund {
    const refund = this.refunds.get(refundId.toLowerCase());
    if (refund !== undefined) return refund;
    throw new Refusal('REFUND_NOT_FOUND', `there is no refund ${refundId}`, { metadata: { refund_id: refundId } });
  }

  refundsOf(paymentId: string): Refund[] {
    return [...this.refunds.values()].filter((refund) => refund.paymentId === paymentId);
  }

  /** Records a payment or its change, as one more version and event. */
  put(payment: Payment): Payment {
    const before = this.payments.get(payment.paymentId);
    const time = toTimestamp(this.now());
    const next: Payment = { ...payment, version: (before?.version ?? 0) + 1, updateTime: time };
    this.payments.set(next.paymentId, next);
    this.events.push({
      eventId: `${next.paymentId}:${next.version}`,
      revision: BigInt(this.events.length + 1),
      shard: 0,
      epoch: 1,
      paymentId: next.paymentId,
      version: next.version,
      previousStatus: before?.status ?? PaymentStatus.PAYMENT_STATUS_UNSPECIFIED,
      status: next.status,
      occurredTime: time,
      payment: undefined,
    });
    this.tell();
    return next;
  }

  /** Records a refund or its change; its payment's amounts and status follow. */
  putRefund(refund: Refund): Payment {
    this.refunds.set(refund.refundId, { ...refund, updateTime: toTimestamp(this.now()) });
    const payment = this.payment(refund.paymentId);
    const sum = (statuses: readonly RefundStatus[]): bigint =>
      this.refundsOf(payment.paymentId).reduce((total, { status, amount }) => (statuses.includes(status) ? total + amount!.minorUnits : total), 0n);
    const refunded = sum([RefundStatus.REFUND_STATUS_SUCCEEDED]);
    const reserved = sum(HOLDING);
    const paid = payment.paidAmount!.minorUnits;
    return this.put({
      ...payment,
      refundedAmount: { ...payment.paidAmount!, minorUnits: refunded },
      reservedAmount: { ...payment.paidAmount!, minorUnits: reserved },
      refundableAmount: { ...payment.paidAmount!, minorUnits: paid - refunded - reserved },
      status:
        refunded === 0n
          ? PaymentStatus.PAYMENT_STATUS_SUCCEEDED
          : refunded < paid
            ? PaymentStatus.PAYMENT_STATUS_PARTIALLY_REFUNDED
            : PaymentStatus.PAYMENT_STATUS_REFUNDED,
    });
  }

  /** What an earlier call with this request_id did, if there was one; refused where it asked for something else. */
  earlier(method: string, appId: string, request: { requestId: string }): DoneRequest | undefined {
    const done = this.requests.get(`${method} ${appId} ${request.requestId}`);
    if (done === undefined || done.body === bodyOf(request)) return done;
    const metadata = { request_id: request.requestId, method, first_request_time: done.at.toISOString(), payment_id: done.paymentId };
    throw new Refusal('REQUEST_ID_REUSED', `request_id ${request.requestId} was used at ${done.at.toISOString()} for another ${method}`, { metadata });
  }

  remember(method: string, appId: string, request: { requestId: string }, did: { paymentId: string; refundId?: string; outcome?: number }): void {
    const done = { body: bodyOf(request), at: this.now(), paymentId: did.paymentId, refundId: did.refundId ?? '', outcome: did.outcome ?? 0 };
    this.requests.set(`${method} ${appId} ${request.requestId}`, done);
  }

  /** Resolves with the next change, or when the signal fires. */
  news(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        this.listeners.delete(done);
        signal.removeEventListener('abort', done);
        resolve();
      };
      if (signal.aborted) return resolve();
      this.listeners.add(done);
      signal.addEventListener('abort', done, { once: true });
    });
  }

  private tell(): void {
    for (const listener of [...this.listeners]) listener();
  }
}

const bodyOf = (request: { requestId: string }): string =>
  JSON.stringify({ ...request, requestId: '' }, (_, value: unknown) => (typeof value === 'bigint' ? `${value}n` : value));
