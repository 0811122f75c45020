/** What callers and buyers do: one short story for each payment, its choices made by the seed and nothing else. */
import { setTimeout as wait } from 'node:timers/promises';
import * as grpc from '@grpc/grpc-js';
import { promised, type Promised } from '../../src/cli/promised.js';
import { CheckoutKind, type Payment } from '../../src/gen/payment/v1/payment.js';
import * as rpc from '../../src/gen/payment/v1/payment_service.js';
import { ControlError } from '../../src/simulator/control-error.js';
import type { Simulators } from '../../src/simulator/simulators.js';
import { Random } from '../notification/random.js';
import type { Application } from './planted-bugs.js';

const CALL_MAX_MS = 20_000;
const PAUSE_MS = 150;
/** How long a caller repeats itself before it gives up: the service is killed every few seconds, and its circuits open for up to a minute. */
const PATIENCE_MS = 300_000;
const LOOKS = ['get', 'sync', 'verify'] as const;
const PLATFORMS = ['alipay', 'wechatpay', 'unionpay'] as const;

/** What the callers of one application heard. */
export interface Told {
  /** Refusals that no caller may ever see. */
  readonly internal: string[];
  readonly gaveUp: string[];
}

export interface WorkloadOptions {
  readonly address: string;
  readonly simulators: Simulators;
  /** Of each application. */
  readonly payments: number;
  readonly applications: readonly Application[];
  readonly seed: number;
  readonly concurrency: number;
  /** How often callers look at one payment, at most. */
  readonly looksMax: number;
  readonly onAct: () => void;
}

export interface Worked {
  readonly told: Readonly<Record<Application, Told>>;
  /** Buyers who pay in the last minutes before their order expires. */
  readonly latecomers: (() => void)[];
}

export async function runWorkload(options: WorkloadOptions): Promise<Worked> {
  const client = new rpc.PaymentServiceClient(options.address, grpc.credentials.createInsecure(), { 'grpc.max_reconnect_backoff_ms': 500, 'grpc.initial_reconnect_backoff_ms': 50 });
  const payments = promised(client, { deadlineMs: CALL_MAX_MS });
  const worked: Worked = { told: Object.fromEntries(options.applications.map((name) => [name, { internal: [], gaveUp: [] }])) as unknown as Worked['told'], latecomers: [] };
  let next = 0;
  await Promise.all(
    Array.from({ length: options.concurrency }, async () => {
      for (let index = next++; index < options.payments * options.applications.length; index = next++) await new Story(payments, options, worked, index).run();
    }),
  );
  client.close();
  return worked;
}

class Story {
  private readonly random: Random;
  private readonly platform: (typeof PLATFORMS)[number];
  private readonly amount: bigint;
  private readonly appId: Application;

  constructor(
    private readonly service: Promised<rpc.PaymentServiceClient>,
    private readonly options: WorkloadOptions,
    private readonly worked: Worked,
    private readonly index: number,
  ) {
    this.random = new Random(options.seed, index);
    this.appId = options.applications[index % options.applications.length]!;
    this.platform = this.random.pick(PLATFORMS);
    this.amount = BigInt(this.random.between(100, 10_000));
  }

  async run(): Promise<void> {
    const ends = this.random.next();
    const hesitatesMs = this.random.chance(0.3) ? this.random.between(100, 1_000) : null;
    const looks = Array.from({ length: this.random.below(this.options.looksMax + 1) }, () => ({ afterMs: this.random.between(0, 600), how: this.random.pick(LOOKS) }));
    const refunds = Array.from({ length: this.random.below(4) }, () => BigInt(this.random.between(1, Number(this.amount) / 2)));
    const isClosed = this.random.chance(0.1);
    const isPatient = this.random.chance(0.5);

    const payment = await this.create();
    if (payment === null) return;
    const closing = isClosed ? this.close(payment) : Promise.resolve();
    const looking = this.look(payment, looks);
    if (ends < 0.8) await this.pay(payment, hesitatesMs);
    else if (ends < 0.9) this.worked.latecomers.push(() => this.tryToPay(payment));
    await closing;
    if (isPatient) await looking;
    // Two at a time, now and then: they compete for the same money.
    await Promise.all(refunds.map(async (amount, at) => await this.refund(payment, amount, at)));
    await looking;
  }

  private create(): Promise<Payment | null> {
    const request = rpc.CreatePaymentRequest.fromPartial({
      requestId: `create-${this.options.seed}-${this.index}`,
      appId: this.appId,
      orderId: `order-${this.index}`,
      platform: platformCode(this.platform),
      subject: 'tea',
      amount: { currencyCode: 'CNY', minorUnits: this.amount },
      kind: { $case: 'initiated', value: { checkoutKind: CheckoutKind.CHECKOUT_KIND_QR_CODE } },
    });
    return this.stubborn('create', async () => (await this.service.createPayment(request)).payment!);
  }

  /** The buyer comes when the platform has the order, whatever the service knows of it. */
  private async pay(payment: Payment, hesitatesMs: number | null): Promise<void> {
    if (hesitatesMs !== null) {
      this.atPlatform((control) => control.paymentFails(payment.merchantOrderNo));
      await wait(hesitatesMs);
    }
    for (let attempt = 0; attempt < 20 && !this.tryToPay(payment); attempt += 1) await wait(PAUSE_MS);
  }

  private tryToPay({ merchantOrderNo }: Payment): boolean {
    return this.atPlatform((control) => control.buyerPays(merchantOrderNo));
  }

  /** False where the order is not placed yet, or closed by now. */
  private atPlatform(act: (control: Simulators[(typeof PLATFORMS)[number]]['control']) => unknown): boolean {
    try {
      act(this.options.simulators[this.platform].control);
      return true;
    } catch (error) {
      if (error instanceof ControlError) return false;
      throw error;
    }
  }

  /** What callers do beside the story: they look, and have the service ask. */
  private async look({ paymentId }: Payment, looks: readonly { readonly afterMs: number; readonly how: (typeof LOOKS)[number] }[]): Promise<void> {
    const ref = rpc.PaymentRef.fromPartial({ ref: { $case: 'paymentId', value: paymentId } });
    const ways: Record<(typeof LOOKS)[number], () => Promise<unknown>> = {
      get: () => this.service.getPayment(rpc.GetPaymentRequest.fromPartial({ ref })),
      sync: () => this.service.syncPayments(rpc.SyncPaymentsRequest.fromPartial({ target: { $case: 'payments', value: { refs: [ref] } } })),
      verify: () => this.service.verifyPayments({ refs: [ref], apply: true }),
    };
    for (const { afterMs, how } of looks) {
      await wait(afterMs);
      await this.stubborn(how, ways[how]);
    }
  }

  private async close({ paymentId }: Payment): Promise<void> {
    const request = { requestId: `close-${paymentId}`, paymentId, reason: 'the buyer left', expectedVersion: undefined };
    await this.stubborn('close', () => this.service.closePayment(request));
  }

  private async refund({ paymentId }: Payment, amount: bigint, at: number): Promise<void> {
    const request = rpc.CreateRefundRequest.fromPartial({
      requestId: `refund-${paymentId}-${at}`, paymentId, reason: 'returned', amount: { currencyCode: 'CNY', minorUnits: amount },
    });
    for (let attempt = 0; attempt < 15; attempt += 1) {
      const refused = await this.stubborn('refund', () => this.service.createRefund(request).then(() => null, notPaidYet));
      if (refused === null) return;
      await wait(PAUSE_MS);
    }
  }

  /** Repeats a call under its request id until it is answered; null where it is definitely refused. */
  private async stubborn<T>(what: string, call: () => Promise<T>): Promise<T | null> {
    this.options.onAct();
    const began = performance.now();
    while (performance.now() - began < PATIENCE_MS) {
      try {
        return await call();
      } catch (error) {
        const { code, details } = error as grpc.ServiceError;
        if (code === grpc.status.INTERNAL && !/RST_STREAM/.test(details)) this.worked.told[this.appId].internal.push(`${what}: ${details}`);
        if (!AGAIN.includes(code)) return null;
        await wait(PAUSE_MS);
      }
    }
    this.worked.told[this.appId].gaveUp.push(`${what} of ${this.index}`);
    return null;
  }
}

const AGAIN: readonly grpc.status[] = [
  grpc.status.UNAVAILABLE, grpc.status.DEADLINE_EXCEEDED, grpc.status.CANCELLED, grpc.status.RESOURCE_EXHAUSTED, grpc.status.INTERNAL, grpc.status.UNKNOWN,
];

function notPaidYet(error: unknown): string {
  const { code, details } = error as grpc.ServiceError;
  if (code === grpc.status.FAILED_PRECONDITION && /payment cannot be refunded/.test(details)) return details;
  throw error;
}

const platformCode = (name: (typeof PLATFORMS)[number]): number => PLATFORMS.indexOf(name) + 1;
