/**
 * Puts revisions into the stream, in their order and without waiting for each. A replica publishes what it has advanced itself, once the
 * stream has what lies before; what nobody publishes, because its replica has died, somebody else does. Nobody is elected: of two that
 * publish the same the stream refuses one, who looks again where the stream ends.
 */
import type { FeedEvent } from '../event.js';
import type { FeedStream } from './stream.js';

/** Revisions on their way at once, and read in one go. */
const IN_FLIGHT_MAX = 1_000;
/** More than this wait for others only where nothing moves, and then they are healed. */
const OWN_MAX = 1_000;
const REFUSED_IN_A_ROW_MAX = 50;

interface Range {
  readonly from: bigint;
  to: bigint;
}

export class Publisher {
  private readonly own: Range[] = [];
  /** The last revision that the stream is known to have. */
  private stored: bigint;
  /** The last one that need not be sent: stored, or on its way. */
  private sent: bigint;
  private healTo = 0n;
  private inFlight = 0;
  private refused = false;
  private stopped = false;
  private refusedInARow = 0;
  private refusals = 0;
  private reading = false;

  constructor(
    private readonly stream: FeedStream,
    lastRev: bigint,
    /** Events after a revision, up to and with another or fewer. */
    private readonly read: (after: bigint, to: bigint) => Promise<readonly FeedEvent[]>,
  ) {
    this.stored = this.sent = lastRev;
  }

  get lastRev(): bigint {
    return this.stored;
  }

  get refusedCount(): number {
    return this.refusals;
  }

  /** This replica has given the revisions after one, up to and with another. */
  append(from: bigint, to: bigint): void {
    const last = this.own.at(-1);
    if (last?.to === from) last.to = to;
    else this.own.push({ from, to });
    if (this.own.length > OWN_MAX) this.own.shift();
    this.work();
  }

  /** The stream has brought everything up to this revision, whoever published it. */
  seen(rev: bigint): void {
    if (rev <= this.stored) return;
    this.stored = rev;
    if (rev > this.sent) this.sent = rev;
    this.work();
  }

  /** Nobody else seems to publish these. */
  heal(to: bigint): void {
    if (to > this.healTo) this.healTo = to;
    this.work();
  }

  private work(): void {
    if (this.reading) return;
    const to = this.turn();
    if (to === null) return;
    this.reading = true;
    const limit = this.sent + BigInt(IN_FLIGHT_MAX);
    this.read(this.sent, to < limit ? to : limit)
      .then((events) => this.sendAll(events))
      .catch((error: unknown) => this.fail(error))
      .finally(() => {
        this.reading = false;
        this.work();
      });
  }

  /** Up to where it is this replica's turn to publish now. */
  private turn(): bigint | null {
    while (this.own[0] !== undefined && this.own[0].to <= this.sent) this.own.shift();
    if (this.stopped || this.refused || this.inFlight > IN_FLIGHT_MAX / 2) return null;
    const first = this.own[0];
    if (first !== undefined && first.from <= this.sent) return first.to;
    return this.healTo > this.sent ? this.healTo : null;
  }

  private sendAll(events: readonly FeedEvent[]): void {
    if (events.length === 0) {
      // What was announced is not there.
      this.own.length = 0;
      this.healTo = 0n;
    }
    for (const event of events) {
      // While they were read the stream may have moved, in either direction.
      if (event.revision <= this.sent) continue;
      if (event.revision !== this.sent + 1n || this.refused || this.stopped) return;
      this.sent = event.revision;
      this.send(event);
    }
  }

  private send(event: FeedEvent): void {
    this.inFlight += 1;
    this.stream
      .publish(event)
      .then((outcome) => {
        if (outcome === 'REFUSED') {
          this.refused = true;
          this.refusals += 1;
          return;
        }
        this.refusedInARow = 0;
        if (event.revision > this.stored) this.stored = event.revision;
      })
      .catch((error: unknown) => this.fail(error))
      .finally(() => {
        this.inFlight -= 1;
        if (this.refused && !this.stopped && this.inFlight === 0) void this.lookAgain();
        else this.work();
      });
  }

  /** Somebody else has published, or what was in the stream is lost. */
  private async lookAgain(): Promise<void> {
    try {
      this.refusedInARow += 1;
      if (this.refusedInARow > REFUSED_IN_A_ROW_MAX) throw new Error(`the stream refuses everything after revision ${this.stored}`);
      this.stored = this.sent = await this.stream.lastRev();
      // Whoever was faster goes on healing.
      this.healTo = 0n;
      this.refused = false;
      this.work();
    } catch (error) {
      this.fail(error);
    }
  }

  private fail(error: unknown): void {
    this.stopped = true;
    this.stream.fail(error instanceof Error ? error : new Error(String(error)));
  }
}
