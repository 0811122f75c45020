import { randomUUID } from 'node:crypto';
import { VerifyPaymentLogRequest } from '../../src/gen/payment/v1/operations_service.js';
import { CheckoutKind, PaymentStatus, Platform } from '../../src/gen/payment/v1/payment.js';
import { CreatePaymentRequest, CreateRefundRequest, UpdatePaymentStatusRequest } from '../../src/gen/payment/v1/payment_service.js';

export const yuan = (minorUnits: bigint) => ({ currencyCode: 'CNY', minorUnits });

export const logOf = (paymentId: string): VerifyPaymentLogRequest => VerifyPaymentLogRequest.fromPartial({ paymentId });

type Changes<T> = { [Key in keyof T]?: unknown };

/** A registered WeChat Pay payment of 100.00 CNY, unless changed. */
export function registered(changes: Changes<CreatePaymentRequest> = {}): CreatePaymentRequest {
  const id = randomUUID();
  return {
    ...CreatePaymentRequest.fromPartial({
      requestId: id,
      appId: 'shop',
      orderId: `order-${id}`,
      userId: 'user-1',
      platform: Platform.PLATFORM_WECHATPAY,
      merchantAccount: 'shop-account',
      amount: yuan(10_000n),
      subject: 'tea',
      kind: { $case: 'registered', value: { merchantOrderNo: `no-${id}` } },
    }),
    ...changes,
  } as CreatePaymentRequest;
}

/** An initiated Alipay payment of 100.00 CNY by QR code, unless changed. */
export function initiated(changes: Changes<CreatePaymentRequest> = {}): CreatePaymentRequest {
  const kind = { $case: 'initiated', value: { checkoutKind: CheckoutKind.CHECKOUT_KIND_QR_CODE, returnUrl: '', buyerId: '', buyerIp: '' } };
  return registered({ platform: Platform.PLATFORM_ALIPAY, merchantAccount: '', kind, ...changes });
}

export function reported(paymentId: string, changes: Changes<UpdatePaymentStatusRequest> = {}): UpdatePaymentStatusRequest {
  return {
    ...UpdatePaymentStatusRequest.fromPartial({
      requestId: randomUUID(),
      paymentId,
      status: PaymentStatus.PAYMENT_STATUS_SUCCEEDED,
      reporter: 'old-payment-service',
      reason: 'its callback said so',
      amount: yuan(10_000n),
      platformTransactionId: `tx-${paymentId}`,
    }),
    ...changes,
  } as UpdatePaymentStatusRequest;
}

export function refundOf(paymentId: string, minorUnits: bigint, changes: Changes<CreateRefundRequest> = {}): CreateRefundRequest {
  return {
    ...CreateRefundRequest.fromPartial({ requestId: randomUUID(), paymentId, amount: yuan(minorUnits), reason: 'returned' }),
    ...changes,
  } as CreateRefundRequest;
}
