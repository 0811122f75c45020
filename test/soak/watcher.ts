/** One watcher of the soak: it stalls, loses its service, resumes by its last cursor elsewhere, and keeps books of what it was told. */
import { createHash } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import * as grpc from '@grpc/grpc-js';
import type { PaymentServiceClient} from '../../src/gen/payment/v1/payment_service.js';
import { WatchPaymentsRequest, WatchStart, type WatchFilter, type WatchPaymentsResponse } from '../../src/gen/payment/v1/payment_service.js';
import { Random } from '../notification/random.js';

/** Order-free, so that it can be added up by whoever reads the same changes in another way. */
export const markOf = (eventId: string, revision: bigint): number => createHash('md5').update(`${eventId} ${revision}`).digest().readUIntBE(0, 6) % 1_000_003;

export interface Books {
  readonly count: number;
  readonly marks: number;
  /** Not beyond the last one: told twice, or in a wrong order. */
  readonly notBeyond: number;
  /** Ends of its watches, by what they said. */
  readonly ends: Readonly<Record<string, number>>;
}

export class SoakWatcher {
  private count = 0;
  private marks = 0;
  private notBeyond = 0;
  private revision = 0n;
  private cursor: Uint8Array | null = null;
  private readonly ends: Record<string, number> = {};
  private readonly random: Random;
  private goal: bigint | null = null;
  private call: grpc.ClientReadableStream<WatchPaymentsResponse> | null = null;

  constructor(
    private readonly clients: readonly PaymentServiceClient[],
    readonly filter: WatchFilter,
    private readonly at: number,
    seed: number,
  ) {
    this.random = new Random(seed, 5_000_000 + at);
  }

  get books(): Books {
    return { count: this.count, marks: this.marks, notBeyond: this.notBeyond, ends: this.ends };
  }

  /** It is over once everything up to this revision was looked at. */
  finishAt(revision: bigint): void {
    this.goal = revision;
  }

  async run(): Promise<void> {
    for (let attempt = this.at; ; attempt += 1) {
      try {
        if (await this.watch(this.clients[attempt % this.clients.length]!)) return;
        this.note('OK');
      } catch (error) {
        const { code, details } = error as grpc.ServiceError;
        if (![grpc.status.UNAVAILABLE, grpc.status.CANCELLED, grpc.status.RESOURCE_EXHAUSTED, grpc.status.INTERNAL].includes(code)) throw error;
        this.note(`${grpc.status[code]}${/not read for too long/.test(details) ? ' SLOW_CONSUMER' : ''}`);
        await wait(50 + this.random.below(300));
      }
    }
  }

  /** Whether all is told. */
  private async watch(client: PaymentServiceClient): Promise<boolean> {
    const start = this.cursor === null ? { $case: 'startAt' as const, value: WatchStart.WATCH_START_EARLIEST } : { $case: 'afterCursor' as const, value: Buffer.from(this.cursor) };
    const metadata = new grpc.Metadata();
    metadata.set('x-actor', `soak-${this.at}`);
    this.call = client.watchPayments(WatchPaymentsRequest.fromPartial({ start, filter: this.filter, bookmarkInterval: { seconds: 1n, nanos: 0 }, maxEventsPerMessage: this.random.pick([1, 20, 100, 1_000]) }), metadata);
    try {
      for await (const message of this.call as AsyncIterable<WatchPaymentsResponse>) {
        this.take(message);
        if (message.kind?.$case === 'bookmark' && this.goal !== null && message.kind.value.behind === 0n && message.kind.value.headRevision >= this.goal) return true;
        await this.dawdle();
      }
      return false;
    } finally {
      this.call.cancel();
    }
  }

  private take({ cursor, kind }: WatchPaymentsResponse): void {
    for (const { eventId, revision } of kind?.$case === 'events' ? kind.value.events : []) {
      if (revision <= this.revision) this.notBeyond += 1;
      this.revision = revision;
      this.count += 1;
      this.marks += markOf(eventId, revision);
    }
    this.cursor = cursor;
  }

  /** Now and then it is busy with something else, seldom for so long that it loses its watch; and it goes away in the middle. */
  private async dawdle(): Promise<void> {
    if (this.goal !== null) return;
    if (this.random.chance(0.002)) await wait(this.random.between(200, 2_000));
    if (this.random.chance(0.000_05)) await wait(35_000);
    if (this.random.chance(0.001)) this.call?.cancel();
  }

  private note(end: string): void {
    this.ends[end] = (this.ends[end] ?? 0) + 1;
  }
}
