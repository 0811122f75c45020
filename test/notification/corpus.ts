/** Notifications of real payments, as the simulators sign them, none of which was delivered. */
import type { Payment } from '../../src/gen/payment/v1/payment.js';
import type { Notification } from '../../src/simulator/notifier.js';
import type { TestApp } from '../support/app.js';
import { initiated, refundOf, yuan } from '../support/requests.js';
import type { Input } from './input.js';
import type { Material } from './mutators.js';
import type { Target } from './targets.js';

/** A genuine notification that must be taken and applied: an entrance that refuses everything would prove nothing. */
export interface Control {
  readonly paymentId: string;
  /** Signed at that moment, where the platform signs the time of sending. */
  input(at: Date): Input;
}

export interface Corpus extends Material {
  readonly controls: readonly Control[];
}

export interface CorpusParts {
  readonly app: TestApp;
  readonly target: Target;
  /** Delivers a control before its refund; answers whether it was taken. */
  send(input: Input): Promise<boolean>;
  now(): Date;
}

/** Of different amounts, so that they can be told apart by it. */
const AMOUNTS = [10_000n, 8_888n, 1n];

export async function gatherCorpus(parts: CorpusParts, { controls }: { controls: number }): Promise<Corpus> {
  const { target } = parts;
  const genuine: Notification[] = [];
  plan(target, 'never');
  for (const amount of AMOUNTS) genuine.push(await paid(parts, await create(parts, amount)));
  genuine.push(...(await refundedHere(parts, 3_000n)), ...(await refundedHere(parts, 10_000n)), ...(await refundedElsewhere(parts)));

  const forged = [];
  for (const mode of target.forgeries) {
    const payment = await create(parts, 10_000n);
    plan(target, mode);
    forged.push({ mode, notification: await paid(parts, payment) });
  }

  plan(target, 'never');
  const prepared = await Promise.all(
    Array.from({ length: controls }, async (): Promise<Control> => {
      const payment = await create(parts, 10_000n);
      const notification = await paid(parts, payment);
      return { paymentId: payment.paymentId, input: (at) => inputOf(notification, at) };
    }),
  );
  const at = parts.now();
  return {
    at,
    genuine: genuine.map((notification) => inputOf(notification, at)),
    forged: forged.map(({ mode, notification }) => ({ mode, input: inputOf(notification, at) })),
    controls: prepared,
  };
}

const plan = ({ hand }: Target, mode: string): void => hand.notificationPlan({ mode: mode as never });

async function create({ app, target }: CorpusParts, amount: bigint): Promise<Payment> {
  const { payment } = await app.payments.createPayment(initiated({ platform: target.rpcPlatform, amount: yuan(amount), subject: '茶 + "tea" 100%' }));
  return payment!;
}

/** The notification that the buyer's payment causes. */
async function paid({ target }: CorpusParts, payment: Payment): Promise<Notification> {
  const form = payment.checkout?.form;
  if (form?.$case !== 'qrText') throw new Error(`payment ${payment.paymentId} was not placed`);
  const [notification] = await caused(target, () => target.hand.buyerPaysQr(form.value));
  if (notification === undefined) throw new Error(`payment ${payment.paymentId} was not notified`);
  return notification;
}

async function refundedHere(parts: CorpusParts, amount: bigint): Promise<Notification[]> {
  const payment = await create(parts, 10_000n);
  const notification = await paid(parts, payment);
  // Where the entrance refuses what is genuine, the controls of the run will say so.
  if (!(await parts.send(inputOf(notification, parts.now())))) return [notification];
  return [notification, ...(await caused(parts.target, () => parts.app.payments.createRefund(refundOf(payment.paymentId, amount))))];
}

/** Paid and given back in full in the merchant's console, while the payment is pending here. */
async function refundedElsewhere(parts: CorpusParts): Promise<Notification[]> {
  const payment = await create(parts, 10_000n);
  const notification = await paid(parts, payment);
  return [notification, ...(await caused(parts.target, () => parts.target.hand.refundOutside(payment.merchantOrderNo, 10_000n)))];
}

/** Notifications that were not there before. */
async function caused({ hand }: Target, act: () => unknown): Promise<Notification[]> {
  const known = new Set(hand.notifications().map(({ notification }) => notification.id));
  await act();
  await hand.idle();
  return hand.notifications().flatMap(({ notification }) => (known.has(notification.id) ? [] : [notification]));
}

function inputOf(notification: Notification, at: Date): Input {
  const { contentType, body } = notification;
  const signed = Object.entries(notification.headers?.(at) ?? {}).map(([name, value]) => [name.toLowerCase(), value] as const);
  return { headers: [['content-type', contentType], ...signed], body: Buffer.from(body) };
}
