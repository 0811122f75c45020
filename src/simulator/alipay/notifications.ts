/** What the platform tells the merchant, when, and the ways in which a test has it told wrongly (alipay.md sections 6 and 14). */
import { randomBytes } from 'node:crypto';
import type { Attempt, Notifier } from '../notifier.js';
import { beijing, yuan } from './format.js';
import { notice } from './notice.js';
import { notificationText, sign } from './signature.js';
import { reportedTotal, type TradeEvent } from './trade.js';

export const NOTIFICATION_MODES = [
  'normal',
  /** Twice at once, with the same bytes. */
  'duplicate',
  /** Recorded, not sent; `redeliver` can still send it. */
  'never',
  /** Delivered before the call that caused it is answered. */
  'before-reply',
  /** Signed with a key that is not the platform's. */
  'forged',
  /** The amount changed after signing; `buyerPays` with another amount gives one that is signed. */
  'altered-amount',
  /** The body cut. */
  'truncated',
  /** After it, every notification of the trade again, with their old times. */
  'replay',
  /** In pairs, the later one first. */
  'reorder',
  /** Properly signed, about somebody else. */
  'other-app',
  'other-seller',
] as const;

export type NotificationMode = (typeof NOTIFICATION_MODES)[number];

export interface NotificationPlan {
  readonly mode: NotificationMode;
  /** How many notifications it holds for, normal ones follow; default all. */
  readonly times?: number;
}

export interface Outgoing {
  readonly id: string;
  readonly mode: NotificationMode;
  readonly outTradeNo: string;
}

export interface NotificationParts {
  readonly notifier: Notifier;
  readonly appId: string;
  readonly sellerId: string;
  privateKeyPem(): string;
  /** Made when first wanted. */
  forgerPrivateKeyPem(): string;
  /** Whether this kind is sent at all: the platform's pages differ on some. */
  sends(kind: TradeEvent['kind']): boolean;
  now(): number;
}

/** A wrong message comes once: it is no part of the platform's schedule. */
const UNREPEATED: readonly NotificationMode[] = ['forged', 'altered-amount', 'truncated', 'other-app', 'other-seller'];

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

  announce(event: TradeEvent): void {
    const { notifyUrl: url, outTradeNo } = event.trade;
    if (url === null || !this.parts.sends(event.kind)) return;

    const mode = this.nextMode();
    const now = this.parts.now();
    const id = `${beijing(now).replaceAll(/\D/g, '').slice(0, 8)}00222${randomBytes(10).toString('hex')}`;
    const contentType = 'application/x-www-form-urlencoded; charset=utf-8';
    const { body, about } = this.compose(event, { id, now, mode });
    this.parts.notifier.record({ id, url, contentType, body, about: { ...about, mode } });

    const outgoing = { id, mode, outTradeNo };
    if (this.collecting !== null) this.collecting.push(outgoing);
    else void this.dispatch([outgoing]);
  }

  /** Runs something to the end and keeps back what it announces, for dispatch after the reply. */
  collect<T>(run: () => T): { readonly value: T; readonly outgoing: readonly Outgoing[] } {
    const outgoing: Outgoing[] = [];
    this.collecting = outgoing;
    try {
      return { value: run(), outgoing };
    } finally {
      this.collecting = null;
    }
  }

  dispatchesEarly(outgoing: readonly Outgoing[]): boolean {
    return outgoing.some(({ mode }) => mode === 'before-reply');
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

  private compose(event: TradeEvent, { id, now, mode }: { id: string; now: number; mode: NotificationMode }) {
    const { parts } = this;
    const appId = mode === 'other-app' ? `${parts.appId.slice(0, -4)}9999` : parts.appId;
    const sellerId = mode === 'other-seller' ? `${parts.sellerId.slice(0, -4)}9999` : parts.sellerId;
    const fields = notice(event, { notifyId: id, now, appId, sellerId });
    fields.set('sign', sign(notificationText(fields), mode === 'forged' ? parts.forgerPrivateKeyPem() : parts.privateKeyPem()));

    const about = { out_trade_no: event.trade.outTradeNo, trade_status: event.trade.status, event: event.kind };
    if (mode === 'altered-amount') fields.set('total_amount', yuan(reportedTotal(event.trade) + 1n));
    const body = new URLSearchParams([...fields]).toString();
    return { about, body: mode === 'truncated' ? body.slice(0, Math.floor(body.length * 0.7)) : body };
  }

  private async deliver(outgoing: Outgoing): Promise<void> {
    const { id, mode, outTradeNo } = outgoing;
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
      const repeat = !UNREPEATED.includes(mode);
      const again = mode === 'duplicate' ? [notifier.deliver(id, { repeat: false })] : [];
      await Promise.all([notifier.deliver(id, { repeat }), ...again]);

      if (earlier !== null) await notifier.deliver(earlier.id, { repeat: true });
      if (mode === 'replay') for (const old of this.about(outTradeNo)) await notifier.deliver(old, { repeat: false });
    } finally {
      done();
    }
  }

  private about(outTradeNo: string): string[] {
    return this.parts.notifier.deliveries
      .filter(({ notification }) => notification.about['out_trade_no'] === outTradeNo)
      .map(({ notification }) => notification.id);
  }
}
