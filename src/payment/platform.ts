/**
 * The port to a payment platform: what every adapter does, in the words of the domain. An adapter translates the platform's
 * protocol and vocabulary and decides nothing about a payment; business results are values, never exceptions.
 */
import type { Money } from './money.js';
import type { NegativeStatus } from './payment-status.js';

export const PLATFORMS = ['ALIPAY', 'WECHATPAY', 'UNIONPAY'] as const;
export type PlatformName = (typeof PLATFORMS)[number];

export interface PlatformAdapter {
  readonly platform: PlatformName;
  readonly merchantAccount: string;

  /** The time by which the platform will know an order that is recorded now; empty where its number alone is enough. */
  orderTime(at: Date): string;
  /** Places the order. Repeating it with the same order is safe: the platform knows the order by its number. */
  create(order: NewOrder, call: Call): Promise<CallOutcome<Checkout>>;
  query(order: OrderIdentity, call: Call): Promise<CallOutcome<PaymentReport>>;
  /** Closes an unpaid order. What became of it, when the platform says so. */
  close(order: OrderIdentity, call: Call): Promise<CallOutcome<CloseReport>>;
  /** Sends a refund. Repeating it with the same refund number moves money at most once. */
  refund(refund: NewRefund, call: Call): Promise<RefundReport>;
  queryRefund(refund: RefundIdentity, call: Call): Promise<RefundReport>;
  /** Verifies and reads one delivery over its raw bytes. Waits for no network call. */
  readNotification(delivery: Delivery): Reading;
  /** The settlement bill of one Beijing day (`yyyy-MM-dd`); null where the platform has none, for it is not made yet or was empty. */
  downloadBill(day: string, call: Call): Promise<CallOutcome<Bill | null>>;
  /** How far from Beijing midnight the day of a bill begins, in milliseconds; negative for before. */
  readonly billDayShiftMs: number;
  /** The checkouts it offers, each with what a request must bring for it. */
  readonly checkouts: Readonly<Partial<Record<CheckoutKind, readonly CheckoutNeed[]>>>;
  /** How often it wants to be asked. */
  readonly paces: Paces;
  /** Of orders that it can place, ISO 4217. */
  readonly currencies: readonly string[];
  /** Operations that are left alone for a while, since the platform did not answer them lately; an adapter by itself has none. */
  readonly openCircuits?: readonly string[];
  /** Whether a call of the operation would be held back for that now. */
  holdsBack?(operation: 'refund'): boolean;
  /** Headers that a delivery is read by, beside its content-type, in lower case; these alone are stored with it. */
  readonly deliveryHeaders: readonly string[];
  /** How the platform wants a delivery answered. */
  readonly replies: Readonly<Record<'stored' | 'refused' | 'failed', HttpReply>>;
}

/** Pauses between the queries about one payment, in milliseconds; the last one goes on. */
export interface Paces {
  /** While the buyer is awaited, and at most this until the order expires. */
  readonly open: readonly number[];
  /** After an act of ours whose outcome is unknown. */
  readonly unknown: readonly number[];
  /** While a refund is under way. */
  readonly refund: readonly number[];
}

/** A call to the platform: when it must be over, and the time it is made. */
export interface Call {
  readonly signal: AbortSignal;
  readonly at: Date;
}

/** What the platform did with a call that asked it to do something. */
export type CallOutcome<T> =
  | { readonly kind: 'ACCEPTED'; readonly value: T }
  /**
   * Not done as asked. What to make of it: a final refusal, a reason to query, a number that belongs to another order, or money that
   * may have moved nevertheless.
   */
  | (Failure & { readonly kind: 'REJECTED'; readonly meaning: 'FINAL' | 'QUERY' | 'CONFLICT' | 'MONEY_UNCLEAR' })
  /** It may or may not have been done: time-out, 5xx, HTML, bad or missing signature, or a proven word that has no mapping. */
  | (Failure & { readonly kind: 'UNKNOWN'; readonly unmapped?: boolean })
  /** Nothing was sent. */
  | (Failure & { readonly kind: 'UNREACHABLE' })
  /** Refused at the door, not done; later. */
  | (Failure & { readonly kind: 'RATE_LIMITED' })
  /** Refused at the door for a fault of ours (keys, ids, permission, parameters); not done. */
  | (Failure & { readonly kind: 'MISCONFIGURED' });

export interface Failure {
  /** The platform's own code, or a transport word such as `TIMEOUT`. */
  readonly code: string;
  readonly message: string;
  /** The call never left this process: a limit or an open circuit held it back. */
  readonly heldBack?: boolean;
}

/** The code of RATE_LIMITED for a call that was not sent because our own rate for the account is used up: it may be made a moment later. */
export const OVER_RATE = 'RATE';

export type CheckoutKind = 'QR_CODE' | 'PAGE' | 'WAP' | 'APP' | 'JSAPI';
export type CheckoutNeed = 'buyerId' | 'buyerIp';

export interface NewOrder {
  readonly merchantOrderNo: string;
  readonly platformOrderTime: string;
  readonly subject: string;
  readonly amount: Money;
  readonly checkout: CheckoutKind;
  readonly expireAt: Date;
  readonly returnUrl: string | null;
  /** The platform's id of the buyer, and the address of the buyer's device, where the checkout needs them. */
  readonly buyerId: string | null;
  readonly buyerIp: string | null;
}

/** What the buyer needs in order to pay. */
export interface Checkout {
  readonly form: 'QR_TEXT' | 'FORM_HTML' | 'REDIRECT_URL' | 'APP_PARAMETERS';
  readonly value: string;
}

/** How the platform knows an order. `platformOrderTime` is empty where the number alone identifies it. */
export interface OrderIdentity {
  readonly merchantOrderNo: string;
  readonly platformOrderTime: string;
  readonly platformTransactionId: string | null;
}

export interface NewRefund extends RefundIdentity {
  readonly amount: Money;
  /** Amount and time of the whole payment; some platforms want them beside the refund's. */
  readonly paid: Money;
  readonly paidAt: Date;
  readonly reason: string;
  /** Counts sends of this refund: a definite refusal of a repeated send is no proof that the first one failed. */
  readonly attempt: number;
}

export interface RefundIdentity {
  readonly order: OrderIdentity;
  readonly platformRefundNo: string;
  /** When the refund was recorded: the platform time of refunds that are identified by it. */
  readonly createdAt: Date;
  /** When the refund was last sent, before the call at hand; null when it never was. */
  readonly sentAt: Date | null;
}

/** What the platform says about a payment, as a class of evidence. */
export type PaymentEvidence = {
  /** The platform's time of what it reports; the time of asking where it gives none. */
  readonly at: Date;
  /** The platform's own word, verbatim. */
  readonly word: string;
} & (
  | { readonly class: 'AWAITING_BUYER' | 'IN_PROGRESS' | 'INCONCLUSIVE' | 'UNMAPPED' | 'NOT_FOUND' | 'MONEY_UNCLEAR' }
  /** The buyer could not pay and may try again until the order expires. */
  | { readonly class: 'ATTEMPT_FAILED' }
  | ({ readonly class: 'PAID' } & PaidEvidence)
  | { readonly class: 'NEGATIVE_FINAL'; readonly status: NegativeStatus }
);

export interface PaidEvidence {
  readonly amount: Money;
  readonly transactionId: string;
  /** The account that took the money, where the platform names it; null where the signature alone says so. */
  readonly merchantAccount: string | null;
  /** Everything refunded so far by the platform's own sum, in minor units; null where it does not say. */
  readonly refundedTotal: bigint | null;
  /** False once the platform refuses any refund of it. */
  readonly refundable: boolean;
  /** Paid, with a defect on the platform's side that its bill may correct. */
  readonly defective?: boolean;
}

export interface PaymentReport {
  readonly evidence: PaymentEvidence;
}

export interface CloseReport {
  /** CLOSED: closed at the platform now or before. NOT_CLOSABLE_YET: the platform does not know the order, or offers no close. */
  readonly result: 'CLOSED' | 'NOT_CLOSABLE_YET';
  readonly at: Date;
}

/** What the platform says about one refund, by the refund tables of the platform's mapping. */
export interface RefundReport {
  /** UNCHANGED: the answer says nothing new about this refund. */
  readonly status: 'SUBMITTED' | 'SUCCEEDED' | 'FAILED' | 'ABNORMAL' | 'UNKNOWN' | 'UNCHANGED';
  /** Whether to send again, and under which number; null: nothing to repeat. */
  readonly retry: 'SAME_NUMBER' | 'NEW_NUMBER' | null;
  /** What was returned, where the platform says so; must equal what was asked. */
  readonly amount: bigint | null;
  readonly platformRefundId: string | null;
  readonly at: Date;
  readonly word: string;
  readonly failure: Failure | null;
  /** True where nothing can have happened at the platform: it was not reached, or refused at the door. */
  readonly notExecuted: boolean;
  /** A refusal that a query by the same number has confirmed: there is no such refund at the platform. */
  readonly confirmed?: boolean;
  /** Money may have moved otherwise than was asked. */
  readonly moneyUnclear?: boolean;
  /** The platform used a word that has no mapping. */
  readonly unmapped?: boolean;
  /** The platform refuses every refund of the payment from now on. */
  readonly irrefundable?: boolean;
}

export interface Delivery {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
  readonly receivedAt: Date;
}

export interface HttpReply {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

export type Reading =
  | {
      readonly verified: true;
      /** The platform's id of this notification; the same on every repetition of it. */
      readonly notificationId: string;
      readonly order: OrderIdentity;
      /** What it says about the payment; null where it speaks of a refund alone. */
      readonly evidence: PaymentEvidence | null;
      /** The refund that it is about; without a report where the platform leaves the verdict to a query. */
      readonly refund: { readonly platformRefundNo: string; readonly report: RefundReport | null } | null;
    }
  | {
      readonly verified: false;
      readonly why: string;
      /** The order it claims to be about, unproven; null where it cannot be read. Read only when asked for: a flood must cost little. */
      claimedOrderNo(): string | null;
    };

/** A settlement bill that was downloaded and proven whole; its rows are read from disk as they are asked for. */
export interface Bill extends AsyncDisposable {
  readonly rows: AsyncIterable<BillRow>;
}

/** One movement of money by the platform's books. */
export interface BillRow {
  readonly kind: 'PAYMENT' | 'REFUND';
  /** The order that it belongs to; of a refund the paid one's. Empty where the bill does not say. */
  readonly merchantOrderNo: string;
  readonly platformTransactionId: string;
  /** Of a refund; both empty for payments, the second where the bill does not say. */
  readonly platformRefundNo: string;
  readonly platformRefundId: string;
  /** Positive, for payments and refunds alike. */
  readonly amount: Money;
  /** What the platform keeps, in minor units; negative where it gives a fee back. */
  readonly fee: bigint;
  readonly at: Date;
  /** Whether the money has moved; a bill also lists refunds that are under way or came to nothing. */
  readonly state: 'DONE' | 'OPEN' | 'FAILED';
  /** The platform's own words for what it is. */
  readonly word: string;
}

/** What is wrong with a bill that cannot be read as one; thrown by the iteration over its rows. */
export class BillError extends Error {
  override readonly name = 'BillError';
}
