/** What the platform tells the merchant, when, and the ways in which a test has it told wrongly (wechatpay.md sections 5 and 12). */
import { randomUUID } from 'node:crypto';
import type { Attempt, Notifier } from '../notifier.js';
import { eventType, noticeBody } from './notice.js';
import { flawOf, isRepeated, variantOf, type NotificationMode, type NotificationPlan } from './notification-modes.js';
import type { Merchant } from './objects.js';
import { tradeStateOf, type OrderEvent } from './order.js';
import type { SignatureHeaders, Signer } from './signer.js';

export interface Outgoing {
  readonly id: string;
  readonly mode: NotificationMode;
  readonly outTradeNo: string;
  readonly isProbed: boolean;
}

export interface NotificationParts {
  readonly notifier: Notifier;
  readonly merchant: Merchant;
  readonly apiV3Key: string;
  readonly signer: Signer;
  now(): number;
}

export class Notifications {
  /** Which part of all notifications a probe precedes, evenly spread. */
  probeShare = 0;
  private probesDue = 0;
  private current: { readonly mode: NotificationMode; left: number } = { mode: 'normal', left: Infinity };
  private collecting: Outgoing[] | null = null;
  private swapped: Outgoing | null = null;
  private replaying = false;

  constructor(private readonly parts: NotificationParts) {}

  plan({ mode, times }: NotificationPlan): void {
    const { swapped } = this;
    this.swapped = null;
    this.current = { mode, left: times ?? Infinity };
    if (swapped !== null) void this.deliver(swapped);
  }

  announce(event: OrderEvent): void {
    const url = event.kind === 'paid' ? event.order.notifyUrl : event.refund.notifyUrl;
    if (url === null) return;

    const mode = this.nextMode();
    const outgoing = { id: randomUUID(), mode, outTradeNo: event.order.outTradeNo, isProbed: this.probes(mode) };
    this.record(event, url, outgoing);
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

  /** One more attempt with the same body and a new signature, outside the schedule. */
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

  private record(event: OrderEvent, url: string, { id, mode, outTradeNo, isProbed }: Outgoing): void {
    const { notifier, merchant, apiV3Key, signer } = this.parts;
    const body = noticeBody(event, { id, now: this.parts.now(), merchant, apiV3Key, variant: variantOf(mode) });
    const about = {
      event_type: eventType(event),
      out_trade_no: outTradeNo,
      trade_state: tradeStateOf(event.order),
      ...(event.kind === 'refund' ? { out_refund_no: event.refund.outRefundNo } : {}),
      mode,
    };
    const common = { url, contentType: 'application/json; charset=utf-8', about };
    notifier.record({
      ...common,
      id,
      body: mode === 'truncated' ? body.slice(0, Math.floor(body.length * 0.7)) : body,
      headers: this.replayable((at) => signer.headers(body, at.getTime(), flawOf(mode))),
    });
    if (isProbed) {
      notifier.record({ ...common, id: probeOf(id), body, about: { ...about, mode: 'probe-itself' }, headers: (at) => signer.headers(body, at.getTime(), 'probe') });
    }
  }

  private replayable(sign: (at: Date) => SignatureHeaders): (at: Date) => SignatureHeaders {
    let first: SignatureHeaders | null = null;
    return (at) => {
      if (this.replaying && first !== null) return first;
      const headers = sign(at);
      first ??= headers;
      return headers;
    };
  }

  private probes(mode: NotificationMode): boolean {
    if (mode === 'probe') return true;
    this.probesDue += this.probeShare;
    if (this.probesDue < 1) return false;
    this.probesDue -= 1;
    return true;
  }

  private async deliver(outgoing: Outgoing): Promise<void> {
    const { id, mode, outTradeNo, isProbed } = outgoing;
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
      if (isProbed) await notifier.deliver(probeOf(id), { repeat: false });
      const again = mode === 'duplicate' ? [notifier.deliver(id, { repeat: false })] : [];
      await Promise.all([notifier.deliver(id, { repeat: isRepeated(mode) }), ...again]);

      if (earlier !== null) await notifier.deliver(earlier.id, { repeat: true });
      if (mode === 'replay') for (const old of this.about(outTradeNo)) await this.replay(old);
    } finally {
      done();
    }
  }

  /** Headers are asked for before the first await: the flag cannot touch another delivery. */
  private async replay(id: string): Promise<void> {
    this.replaying = true;
    const attempt = this.parts.notifier.deliver(id, { repeat: false });
    this.replaying = false;
    await attempt;
  }

  private about(outTradeNo: string): string[] {
    return this.parts.notifier.deliveries
      .filter(({ notification }) => notification.about['out_trade_no'] === outTradeNo)
      .map(({ notification }) => notification.id);
  }
}

const probeOf = (id: string): string => `${id}:probe`;
