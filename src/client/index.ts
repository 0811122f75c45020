/** What users of the package import; the rest of the contract is under @paystate/client/payment/v1/… as in the proto files. */
export { createClient, type ClientOptions, type PaystateClient } from './client.js';
export { isReason, PaystateError, type ErrorReason, type FieldViolation } from './errors.js';
export { toDate, toTimestamp, type Input } from './input.js';
export { paymentRef } from './payment-ref.js';
export { CHANNEL_OPTIONS, SERVICE_CONFIG } from './service-config.js';
export { isPaid, isSettled, statusName } from './status.js';
export type { CallOptions, UnaryApi } from './unary.js';
export { WaitTimeout, type WaitOptions } from './wait-for.js';
export type { Cursor, WatchItem } from './watch-item.js';
export type { WatchRequest } from './watch-request.js';
export type { Reconnect, WatchOptions } from './watch.js';
export { credentials, status } from '@grpc/grpc-js';
export {
  ActorType,
  CheckoutKind,
  EvidenceSource,
  LogKind,
  PaymentFlag,
  PaymentOrigin,
  PaymentStatus,
  Platform,
  RefundRetry,
  RefundStatus,
  ReviewReason,
} from '../gen/payment/v1/payment.js';
export type { Checkout, Money, Payment, PaymentLogEntry, Refund } from '../gen/payment/v1/payment.js';
export { CloseOutcome, LogOrder, PaymentView, ReportOutcome, StatsDimension, VerifyResult, WatchView } from '../gen/payment/v1/payment_service.js';
export type { PaymentEvent } from '../gen/payment/v1/payment_service.js';
