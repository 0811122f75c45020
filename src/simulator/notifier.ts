/**
 * Delivers notifications over real HTTP until the platform's exact acknowledgement comes or its schedule runs out. One
 * notification keeps its id and its bytes over all attempts. Repetitions run by real timers, and earlier when the virtual clock
 * is advanced past them.
 */
import { request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import type { VirtualClock } from './clock.js';

export interface Notification {
  readonly id: string;
  readonly url: string;
  readonly contentType: string;
  readonly body: string;
  /** Made anew for every attempt, where a platform signs the time of sending. */
  headers?(at: Date): Readonly<Record<string, string>>;
  /** What it says, for whoever reads the record. */
  readonly about: Readonly<Record<string, string>>;
}

export interface Attempt {
  readonly at: Date;
  /** Null: no answer came. */
  readonly status: number | null;
  readonly reply: string;
  readonly acknowledged: boolean;
}

export interface Delivery {
  readonly notification: Notification;
  readonly attempts: readonly Attempt[];
  readonly state: 'withheld' | 'waiting' | 'acknowledged' | 'given-up';
}

export interface NotifierOptions {
  readonly clock: VirtualClock;
  /** Between the deliveries; one more delivery than gaps. */
  readonly gapsMs: readonly number[];
  readonly answerMaxMs: number;
  isAcknowledged(status: number, reply: string): boolean;
}

type Open = { -readonly [K in keyof Delivery]: Delivery[K] } & { attempts: Attempt[]; repeats: number };
type Repetition = { readonly dueAt: number; readonly timer: NodeJS.Timeout };

const REPLY_MAX_BYTES = 4_096;
const DELIVERIES_MAX = 10_000;

export class Notifier {
  private readonly known = new Map<string, Open>();
  private readonly repetitions = new Map<Open, Repetition>();
  private readonly stopping = new AbortController();
  private waiting: { until: () => boolean; resolve: () => void }[] = [];
  private underWay = 0;

  constructor(private readonly options: NotifierOptions) {
    options.clock.onAdvance(() => this.fireDue());
  }

  get deliveries(): readonly Delivery[] {
    return [...this.known.values()];
  }

  /** Remembers a notification without sending it. */
  record(notification: Notification): void {
    const oldest = this.known.keys().next();
    if (this.known.size >= DELIVERIES_MAX && oldest.done === false) this.known.delete(oldest.value);
    this.known.set(notification.id, { notification, attempts: [], state: 'withheld', repeats: 0 });
  }

  /** Sends a recorded notification now; `repeat` follows the schedule until it is acknowledged. */
  async deliver(id: string, { repeat }: { readonly repeat: boolean }): Promise<Attempt> {
    const delivery = this.known.get(id);
    if (delivery === undefined) throw new Error(`there is no notification ${id}`);

    const done = this.busy();
    try {
      const attempt = await this.post(delivery.notification);
      delivery.attempts.push(attempt);
      if (attempt.acknowledged) this.end(delivery, 'acknowledged');
      else if (repeat && delivery.state !== 'acknowledged') this.later(delivery);
      return attempt;
    } finally {
      done();
    }
  }

  /** Announces work that will end in a delivery, so that nobody takes the notifier for idle meanwhile. */
  busy(): () => void {
    this.underWay += 1;
    return () => {
      this.underWay -= 1;
      this.waiting = this.waiting.filter(({ until, resolve }) => {
        const over = until();
        if (over) resolve();
        return !over;
      });
    };
  }

  /** Resolves once nothing is under way; repetitions that are only scheduled do not count. */
  idle(): Promise<void> {
    return this.when(() => this.underWay === 0);
  }

  /** Resolves once every notification is acknowledged, given up or withheld. */
  settled(): Promise<void> {
    return this.when(() => this.underWay === 0 && this.repetitions.size === 0);
  }

  async stop(): Promise<void> {
    this.stopping.abort();
    for (const { timer } of this.repetitions.values()) clearTimeout(timer);
    this.repetitions.clear();
    await this.idle();
    this.busy()();
  }

  private when(until: () => boolean): Promise<void> {
    return until() ? Promise.resolve() : new Promise((resolve) => this.waiting.push({ until, resolve }));
  }

  private later(delivery: Open): void {
    const gap = this.options.gapsMs[delivery.repeats];
    if (gap === undefined) return this.end(delivery, 'given-up');
    if (this.stopping.signal.aborted) return;

    delivery.state = 'waiting';
    delivery.repeats += 1;
    const timer = setTimeout(() => this.repeat(delivery), gap).unref();
    this.repetitions.set(delivery, { dueAt: this.options.clock.now() + gap, timer });
  }

  private fireDue(): void {
    const now = this.options.clock.now();
    for (const [delivery, { dueAt }] of [...this.repetitions]) if (dueAt <= now) this.repeat(delivery);
  }

  private repeat(delivery: Open): void {
    clearTimeout(this.repetitions.get(delivery)?.timer);
    this.repetitions.delete(delivery);
    void this.deliver(delivery.notification.id, { repeat: true }).catch(() => this.end(delivery, 'given-up'));
  }

  private end(delivery: Open, state: 'acknowledged' | 'given-up'): void {
    clearTimeout(this.repetitions.get(delivery)?.timer);
    this.repetitions.delete(delivery);
    delivery.state = state;
  }

  private async post(notification: Notification): Promise<Attempt> {
    const at = new Date(this.options.clock.now());
    try {
      const signal = AbortSignal.any([this.stopping.signal, AbortSignal.timeout(this.options.answerMaxMs)]);
      const { status, reply } = await post(notification, at, signal);
      return { at, status, reply, acknowledged: this.options.isAcknowledged(status, reply) };
    } catch {
      return { at, status: null, reply: '', acknowledged: false };
    }
  }
}

/** A redirect is not followed: it is an answer, and the wrong one. */
function post(notification: Notification, at: Date, signal: AbortSignal): Promise<{ status: number; reply: string }> {
  return new Promise((resolve, reject) => {
    const { url, contentType, body } = notification;
    const headers = { 'content-type': contentType, 'content-length': Buffer.byteLength(body), ...notification.headers?.(at) };
    const start = url.startsWith('https:') ? requestHttps : requestHttp;
    const outgoing = start(url, { method: 'POST', headers, agent: false, signal }, (response) => {
      const pieces: Buffer[] = [];
      let size = 0;
      response.on('data', (piece: Buffer) => {
        size += piece.length;
        if (size > REPLY_MAX_BYTES) return void response.destroy(new Error('the answer is too large'));
        pieces.push(piece);
      });
      response.on('error', reject);
      response.on('end', () => resolve({ status: response.statusCode ?? 0, reply: Buffer.concat(pieces).toString('utf8') }));
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}
