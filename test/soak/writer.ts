/** Callers who register payments and report their progress, through whichever service is up, until each of them has been answered. */
import { setTimeout as wait } from 'node:timers/promises';
import * as grpc from '@grpc/grpc-js';
import { promised } from '../../src/cli/promised.js';
import { PaymentStatus } from '../../src/gen/payment/v1/payment.js';
import { PaymentServiceClient } from '../../src/gen/payment/v1/payment_service.js';
import { Random } from '../notification/random.js';
import { registered, reported } from '../support/requests.js';
import { APPS, PLATFORMS, USERS } from './random-filter.js';

/** Each payment has so many changes: registered, under way, and its end. */
export const CHANGES_EACH = 3;
const CALL_MAX_MS = 10_000;
const PAUSE_MS = 100;
const AGAIN: readonly grpc.status[] = [
  grpc.status.UNAVAILABLE, grpc.status.DEADLINE_EXCEEDED, grpc.status.CANCELLED, grpc.status.RESOURCE_EXHAUSTED, grpc.status.INTERNAL, grpc.status.UNKNOWN,
];

export async function writeAll(addresses: readonly string[], { payments, seed, inFlight }: { payments: number; seed: number; inFlight: number }, onChange: () => void): Promise<void> {
  const clients = addresses.map((address) => new PaymentServiceClient(address, grpc.credentials.createInsecure(), { 'grpc.max_reconnect_backoff_ms': 500, 'grpc.initial_reconnect_backoff_ms': 50 }));
  const services = clients.map((client) => promised(client, { deadlineMs: CALL_MAX_MS }));
  let next = 0;

  async function tell(index: number): Promise<void> {
    const random = new Random(seed, index);
    const stubborn = async <T>(call: (service: (typeof services)[number]) => Promise<T>): Promise<T> => {
      for (let attempt = index; ; attempt += 1) {
        try {
          const answer = await call(services[attempt % services.length]!);
          onChange();
          return answer;
        } catch (error) {
          if (!AGAIN.includes((error as grpc.ServiceError).code)) throw error;
          await wait(PAUSE_MS * (0.5 + Math.random()));
        }
      }
    };
    const creation = registered({ appId: random.pick(APPS), userId: random.pick(USERS), orderId: `order-${random.below(2_000)}`, platform: random.pick(PLATFORMS) });
    const { payment } = await stubborn((service) => service.createPayment(creation));
    const { paymentId } = payment!;
    const underWay = reported(paymentId, { status: PaymentStatus.PAYMENT_STATUS_PROCESSING, amount: undefined, platformTransactionId: '' });
    await stubborn((service) => service.updatePaymentStatus(underWay));
    const end = random.chance(0.8) ? reported(paymentId) : reported(paymentId, { status: PaymentStatus.PAYMENT_STATUS_FAILED, amount: undefined, platformTransactionId: '' });
    await stubborn((service) => service.updatePaymentStatus(end));
  }

  await Promise.all(
    Array.from({ length: inFlight }, async () => {
      for (let index = next++; index < payments; index = next++) await tell(index);
    }),
  );
  for (const client of clients) client.close();
}
