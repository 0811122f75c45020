import type { OrderKey } from '../store/unit-of-work.js';
import type { Deps } from './deps.js';
import { DomainError, fieldInvalid } from './errors.js';
import { earlierRequest, rememberRequest, requestKey, type RequestOf } from './idempotency.js';
import { platformNumber, uuidv7 } from './ids.js';
import type { Money } from './money.js';
import { Payment, type PaymentId } from './payment.js';
import type { Actor } from './payment-log.js';
import { isOpen } from './payment-status.js';
import { placeOrder } from './place-order.js';
import type { CheckoutKind, PlatformName } from './platform.js';

export interface CreatePayment {
  readonly request: RequestOf;
  readonly actor: Actor;
  readonly appId: string;
  readonly orderId: string;
  readonly userId: string;
  readonly platform: PlatformName;
  /** Null: the platform's default account. */
  readonly merchantAccount: string | null;
  readonly amount: Money;
  readonly subject: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly expireAt: Date | null;
  readonly kind: Initiated | Registered;
}

/** This service places the order. */
export interface Initiated {
  readonly origin: 'INITIATED';
  readonly checkout: CheckoutKind;
  readonly returnUrl: string | null;
  readonly buyerId: string | null;
  readonly buyerIp: string | null;
}

/** Another service placed the order; this one records it and keeps it true. */
export interface Registered {
  readonly origin: 'REGISTERED';
  readonly merchantOrderNo: string;
  readonly platformOrderTime: string;
  readonly platformTransactionId: string | null;
}

/** An initiated order without an expiry of its own is open this long. */
export const DEFAULT_EXPIRY_MS = 2 * 3600_000;
/** The first look at a fresh order where nobody knows its platform's pace; a buyer needs at least this long. */
const FIRST_QUERY_MS = 5_000;

const firstQueryMs = (deps: Deps, { platform, merchantAccount }: Payment): number =>
  deps.platforms.find(platform, merchantAccount)?.paces.open[0] ?? FIRST_QUERY_MS;

/**
 * Creates the record and, for an initiated payment, places the order. The record is committed before the platform is called, so
 * that a crash in between leaves what was in doubt; a repetition with the same request id goes on where the first one stopped.
 */
export async function createPayment(
  deps: Deps,
  input: CreatePayment,
  signal?: AbortSignal,
): Promise<{ payment: Payment; replayed: boolean }> {
  const merchantAccount = input.merchantAccount ?? deps.platforms.defaultAccount(input.platform, input.appId);
  const now = deps.clock.now();
  const id = uuidv7(now);
  requireOrderable(deps, input, merchantAccount, now);
  const order = orderOf(deps, input, { platform: input.platform, merchantAccount, id, at: now });
  const recorded = await deps.work.run(
    {
      request: requestKey(input.request, input.appId),
      order,
      businessOrder: { appId: input.appId, orderId: input.orderId },
      decide: (view) => {
        const earlier = earlierRequest(view, input.request, input.appId);
        if (earlier !== undefined) return { id: earlier.paymentId, replayed: true, payment: null };
        requireExpiryAhead(input, view.at);

        const taken = view.paymentOfOrder(order);
        if (taken !== undefined) throw orderExists(taken, order);

        const act = view.act(input.actor);
        const payment = Payment.create({ ...fieldsOf(input, view.at), ...order, id }, act);
        view.add(payment);
        rememberRequest(view, input.request, { appId: input.appId, paymentId: id });
        deps.applyWaiting(view, payment, act);
        view.syncDue(payment, new Date(view.at.getTime() + firstQueryMs(deps, payment)));
        return { id, replayed: false, payment };
      },
    },
    signal,
  );

  const payment = recorded.payment ?? (await deps.orm.em.fork().findOneOrFail(Payment, { id: recorded.id }));
  const unplaced = payment.origin === 'INITIATED' && payment.checkout === null && isOpen(payment.status);
  return { payment: unplaced ? await placeOrder(deps, payment, { isFirst: !recorded.replayed }) : payment, replayed: recorded.replayed };
}

const EXPIRY_MIN_MS = 60_000;
const EXPIRY_MAX_MS = 15 * 24 * 3600_000;

/** The expiry of an order that is to be placed: platforms take nothing sooner than their own pace or later than 15 days. */
function requireExpiryAhead({ kind, expireAt }: CreatePayment, now: Date): void {
  if (kind.origin === 'REGISTERED' || expireAt === null) return;
  const ahead = expireAt.getTime() - now.getTime();
  if (ahead >= EXPIRY_MIN_MS && ahead <= EXPIRY_MAX_MS) return;
  throw fieldInvalid({ field: 'expire_time', description: 'must be between 1 minute and 15 days ahead' });
}

const NEED_FIELDS = { buyerId: 'initiated.buyer_id', buyerIp: 'initiated.buyer_ip' } as const;

/** What only the platform's adapter knows about a request, said before anything is recorded. */
function requireOrderable(deps: Deps, { platform, kind, amount }: CreatePayment, merchantAccount: string, now: Date): void {
  if (kind.origin === 'REGISTERED') {
    const byTime = (deps.platforms.find(platform, merchantAccount)?.orderTime(now) ?? '') !== '';
    if (!byTime || kind.platformOrderTime !== '') return;
    throw fieldInvalid({ field: 'registered.platform_order_time', description: `is required: ${platform} knows an order by it` });
  }
  const { checkouts, currencies } = deps.platforms.adapter(platform, merchantAccount);
  if (!currencies.includes(amount.currency)) {
    throw fieldInvalid({ field: 'amount.currency_code', description: `${platform} takes ${currencies.join(', ')}` });
  }
  const needs = checkouts[kind.checkout];
  if (needs === undefined) {
    const offered = Object.keys(checkouts).join(', ');
    throw fieldInvalid({ field: 'initiated.checkout_kind', description: `${platform} offers ${offered}` });
  }
  const missing = needs.filter((need) => kind[need] === null);
  if (missing.length === 0) return;
  throw fieldInvalid(...missing.map((need) => ({ field: NEED_FIELDS[need], description: `is required for ${kind.checkout} at ${platform}` })));
}

function orderOf(
  deps: Deps,
  { kind }: CreatePayment,
  our: { platform: PlatformName; merchantAccount: string; id: PaymentId; at: Date },
): OrderKey {
  const { platform, merchantAccount } = our;
  if (kind.origin === 'REGISTERED') {
    const { merchantOrderNo, platformOrderTime } = kind;
    return { platform, merchantAccount, merchantOrderNo, platformOrderTime };
  }
  const platformOrderTime = deps.platforms.adapter(platform, merchantAccount).orderTime(our.at);
  return { platform, merchantAccount, merchantOrderNo: platformNumber(our.id), platformOrderTime };
}

function fieldsOf(input: CreatePayment, at: Date) {
  const { kind, appId, orderId, userId, subject, metadata, amount } = input;
  const initiated = kind.origin === 'INITIATED';
  return {
    appId,
    orderId,
    userId,
    subject,
    metadata,
    amount,
    origin: kind.origin,
    platformTransactionId: initiated ? null : kind.platformTransactionId,
    checkoutKind: initiated ? kind.checkout : null,
    returnUrl: initiated ? kind.returnUrl : null,
    buyerId: initiated ? kind.buyerId : null,
    buyerIp: initiated ? kind.buyerIp : null,
    expireAt: input.expireAt ?? (initiated ? new Date(at.getTime() + DEFAULT_EXPIRY_MS) : null),
  };
}

function orderExists(payment: Payment, order: OrderKey): DomainError {
  return new DomainError('ORDER_EXISTS', `order ${order.merchantOrderNo} of ${order.platform} is payment ${payment.id} already`, {
    metadata: { payment_id: payment.id, merchant_order_no: order.merchantOrderNo, platform: order.platform },
  });
}
