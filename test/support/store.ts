import { systemClock, type Clock } from '../../src/clock.js';
import type { Deps } from '../../src/payment/deps.js';
import { uuidv7 } from '../../src/payment/ids.js';
import { Payment, type NewPayment } from '../../src/payment/payment.js';
import { PlatformRegistry } from '../../src/payment/platform-registry.js';
import { openOrm } from '../../src/store/orm.js';
import { UnitOfWork, type Operation } from '../../src/store/unit-of-work.js';
import { freshDatabase } from './database.js';
import { CNY } from './payments.js';

export const ACTOR = { type: 'CALLER', id: 'test' } as const;

export interface Store extends AsyncDisposable {
  readonly url: string;
  readonly deps: Deps;
  readonly work: UnitOfWork;
}

/** A migrated database of its own, with a unit of work on it. `through` reaches it by another address, such as a proxy's. */
export async function openStore(options: { clock?: Clock; through?: (url: string) => string } = {}): Promise<Store> {
  const database = await freshDatabase();
  const orm = await openOrm((options.through ?? ((url) => url))(database.url));
  const clock = options.clock ?? systemClock;
  const work = new UnitOfWork(orm, clock);
  const deps: Deps = {
    orm,
    work,
    clock,
    platforms: new PlatformRegistry([]),
    isTrustedReporter: () => true,
    applyWaiting: () => undefined,
    wakeSync: () => undefined,
  };
  return {
    url: database.url,
    deps,
    work,
    async [Symbol.asyncDispose]() {
      await work.whenIdle();
      await orm.close(true);
      await database[Symbol.asyncDispose]();
    },
  };
}

/** An operation that records a payment of 100.00 CNY; `spoil` may break it. */
export function creation(fields: Partial<NewPayment> = {}, spoil: (payment: Payment) => void = () => undefined): Operation<Payment> {
  return {
    decide(view) {
      const id = fields.id ?? uuidv7(view.at);
      const payment = Payment.create(
        {
          id,
          appId: 'shop',
          orderId: `order-${id}`,
          userId: 'user-1',
          platform: 'WECHATPAY',
          merchantAccount: 'shop-account',
          merchantOrderNo: `no-${id}`,
          platformOrderTime: '',
          platformTransactionId: null,
          origin: 'REGISTERED',
          subject: 'tea',
          metadata: {},
          amount: CNY(10_000n),
          checkoutKind: null,
          returnUrl: null,
          buyerId: null,
          buyerIp: null,
          expireAt: null,
          ...fields,
        },
        view.act(ACTOR),
      );
      spoil(payment);
      view.add(payment);
      return payment;
    },
  };
}
