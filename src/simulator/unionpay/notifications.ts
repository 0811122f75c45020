/** What the platform tells the merchant, when, and the ways in which a test has it told wrongly (unionpay.md sections 5 and 11). */
import { randomUUID } from 'node:crypto';
import type { Attempt, Notifier } from '../notifier.js';
import { isRepeated, type NotificationMode, type NotificationPlan } from './notification-modes.js';
import { noticeFields, type Telling } from './objects.js';
import { flawOf, type Signer } from './signer.js';
import { reportedAmount, type TransactionEvent } from './transaction.js';
import { formText } from './wire.js';

export interface Outgoing {
  readonly id: string;
  readonly mode: NotificationMode;
  /** Of the payment. */
  readonly queryId: string;
}

export interface NotificationParts {
  readonly notifier: Notifier;
  readonly signer: Signer;
  /** At the moment of telling. */
  telling(): Telling;
}

export class Notifications {
  private current: { readonly mode: NotificationMode; left: number } = { mode: 'normal', left: Infinity };
  private collecting: Outgoing[] | null = null;
  private swapped: Outgoing | null = null;

  constructor(private readonly parts: NotificationParts) {}

  plan({ mode, times }: NotificationPlan): void {
    const { swapped } = this;
    this.swapped = null;
    this.current = { mode, left: times ?? Infinity };
    if (swapped !== null) void this.deliver(swapped);
  }

  announce(event: TransactionEvent): void {
    const { backUrl } = event.transaction;
    if (backUrl === null) return;

    const outgoing = { id: randomUUID(), mode: this.nextMode(), queryId: event.payment.queryId };
    this.record(event, backUrl, outgoing);
    if (this.collecting !== null) this.collecting.push(outgoing);
    else void this.dispatch([outgoing]);
  }

  /** Runs something to the end and keeps back what it announces, for dispatch at its time. */
  collect<T>(run: () => T): { readonly value: T; readonly outgoing: readonly Outgoing[] } {
    const outgoing: Outgoing[] = [];
    this.collecting = outgoing;
    try {
      return { value: run(), outgoing };
    } finally {
      this.collecting = null;
    }
  }

  isNextEarly(): boolean {
    return this.current.left > 0 && this.current.mode === 'before-reply';
  }

  /** Resolves after the first attempt of each. */
  async dispatch(outgoing: readonly Outgoing[]): Promise<void> {
    await Promise.all(outgoing.map((one) => this.deliver(one)));
  }

  /** One more attempt with the same bytes, outside the schedule. */
  redeliver(id: string): Promise<Attempt> {
    return this.parts.notifier.deliver(id, { repeat: false });
  }

  busy(): () => void {
    return this.parts.notifier.busy();
  }

  private nextMode(): NotificationMode {
    if (this.current.left <= 0) return 'normal';
    this.current.left -= 1;
    return this.current.mode;
  }

  private record({ transaction, payment }: TransactionEvent, url: string, { id, mode }: Outgoing): void {
    const told = mode === 'altered-amount' ? { ...transaction, paid: reportedAmount(transaction) + 1n } : transaction;
    const telling = this.parts.telling();
    const fields = noticeFields(told, mode === 'other-merchant' ? { ...telling, merId: `${telling.merId.slice(0, -4)}9999` } : telling);
    const body = formText(this.parts.signer.signed(fields, flawOf(mode)));
    this.parts.notifier.record({
      id,
      url,
      contentType: 'application/x-www-form-urlencoded;charset=UTF-8',
      body: mode === 'truncated' ? body.slice(0, Math.floor(body.length * 0.7)) : body,
      about: {
        order_id: transaction.orderId,
        txn_time: transaction.txnTime,
        txn_type: transaction.txnType,
        resp_code: transaction.code ?? '',
        payment_query_id: payment.queryId,
        mode,
      },
    });
  }

  private async deliver(outgoing: Outgoing): Promise<void> {
    const { id, mode, queryId } = outgoing;
    const { notifier } = this.parts;
    if (mode === 'never') return;

    if (mode === 'reorder' && this.swapped === null) {
      this.swapped = outgoing;
      return;
    }
    const done = notifier.busy();
    try {
      const earlier = mode === 'reorder' ? this.swapped : null;
      if (earlier !== null) this.swapped = null;
      const again = mode === 'duplicate' ? [notifier.deliver(id, { repeat: false })] : [];
      await Promise.all([notifier.deliver(id, { repeat: isRepeated(mode) }), ...again]);

      if (earlier !== null) await notifier.deliver(earlier.id, { repeat: true });
      if (mode === 'replay') for (const old of this.about(queryId)) await notifier.deliver(old, { repeat: false });
    } finally {
      done();
    }
  }

  private about(queryId: string): string[] {
    return this.parts.notifier.deliveries
      .filter(({ notification }) => notification.about['payment_query_id'] === queryId)
      .map(({ notification }) => notification.id);
  }
}
