/**
 * Holds a genuine export against the database. A payment may have changed since: then its log has grown behind the exported entry, and
 * that entry is still in its chain. Anything else is evidence that history was rewritten.
 */
import type { MikroORM } from '@mikro-orm/postgresql';
import type { PaymentId } from '../payment/payment.js';
import { paymentPages, walkChains, type RecordedPayment, type WalkedChain } from '../payment/read-chains.js';
import { PAGE, type ExportHeader } from './export-format.js';
import { isBefore, readExport, type Trust } from './read-export.js';

export interface Evidence {
  readonly paymentId: PaymentId;
  readonly what: string;
}

export interface Comparison {
  readonly payments: number;
  readonly entries: number;
  readonly evidence: number;
}

/** A payment is created by a transaction that ends sooner than this, so one that is older than the export should be in it. */
const UNDER_WAY_MS = 5 * 60_000;

/** Reports what it finds as it goes, in the order of the export. */
export async function compareExport(
  { orm }: { readonly orm: MikroORM },
  { path, trust, header }: { readonly path: string; readonly trust: Trust; readonly header: ExportHeader },
  report: (evidence: Evidence) => void,
): Promise<Comparison> {
  let [payments, entries, evidence] = [0, 0, 0];
  const found = (paymentId: PaymentId, what: string): void => {
    evidence += 1;
    report({ paymentId, what });
  };

  const recorded = new Recorded(orm, header);
  await readExport(path, trust, async (page) => {
    const chains = await walkChains(orm, page.map(({ id, logSeq }) => ({ id, upTo: logSeq })));
    for (const exported of page) {
      for await (const added of recorded.before(exported)) found(added.id, addedText(added));
      const chain = chains.get(exported.id);
      for (const what of differences(exported, chain)) found(exported.id, what);
      payments += 1;
      entries += chain?.walk.entries ?? 0;
    }
  });
  for await (const added of recorded.before(null)) found(added.id, addedText(added));
  return { payments, entries, evidence };
}

const addedText = ({ createdAt }: RecordedPayment): string => `the payment is not in the export, but has the time of creation ${createdAt.toISOString()}`;

function differences(exported: RecordedPayment, chain: WalkedChain | undefined): readonly string[] {
  if (chain === undefined) return [`the payment is missing; its log had ${exported.logSeq} entries`];
  return [...chainDifferences(exported, chain), ...recordDifferences(exported, chain.payment)];
}

function chainDifferences(exported: RecordedPayment, { payment, walk: { fault, last } }: WalkedChain): readonly string[] {
  if (fault !== null) return [`entry ${fault.seq}: ${fault.what}`];
  if (last.seq < exported.logSeq) return [`the log ends with entry ${last.seq}; ${exported.logSeq} were exported`];
  if (last.hash !== exported.logHash) return [`the log up to entry ${exported.logSeq} is not what was exported: its hash is ${last.hash}, was ${exported.logHash}`];
  if (payment.logSeq < exported.logSeq) return [`the payment says that its log ends with entry ${payment.logSeq}; ${exported.logSeq} were exported`];
  const another = payment.logSeq === exported.logSeq && payment.logHash !== exported.logHash;
  return another ? [`the payment says that entry ${payment.logSeq} has the hash ${payment.logHash}, was ${exported.logHash}`] : [];
}

/** What never changes, and what changes with an entry of the log only. */
function recordDifferences(exported: RecordedPayment, now: RecordedPayment): readonly string[] {
  const always = ['createdAt', 'amount', 'currency'] as const;
  const withAnEntry = ['status', 'version', 'paidAmount', 'refundedAmount'] as const;
  const compared = now.logSeq === exported.logSeq ? [...always, ...withAnEntry] : always;
  const text = (value: RecordedPayment[(typeof compared)[number]]): string => (value instanceof Date ? value.toISOString() : `${value}`);
  return compared
    .filter((name) => text(now[name]) !== text(exported[name]))
    .map((name) => `the payment's ${NAMES[name]} is ${text(now[name])}, was ${text(exported[name])}`);
}

const NAMES = {
  createdAt: 'time of creation',
  amount: 'amount',
  currency: 'currency',
  status: 'status',
  version: 'version',
  paidAmount: 'paid amount',
  refundedAmount: 'refunded amount',
} as const;

/** The payments of the range as they are now, in the order of the export, so that those that it lacks are found on the way. */
class Recorded {
  private readonly pages: AsyncGenerator<readonly RecordedPayment[]>;
  private readonly oldest: Date;
  private page: readonly RecordedPayment[] = [];
  private place = 0;

  constructor(orm: MikroORM, header: ExportHeader) {
    this.pages = paymentPages(orm, header, PAGE);
    this.oldest = new Date(header.createdAt.getTime() - UNDER_WAY_MS);
  }

  /** Goes on to an exported payment, or to the end, and gives what the export should have had before it. */
  async *before(exported: RecordedPayment | null): AsyncGenerator<RecordedPayment> {
    for (let next = await this.peek(); next !== null && (exported === null || isBefore(next, exported)); next = await this.peek()) {
      if (next.createdAt < this.oldest) yield next;
      this.place += 1;
    }
    if (exported !== null && (await this.peek())?.id === exported.id) this.place += 1;
  }

  private async peek(): Promise<RecordedPayment | null> {
    if (this.place === this.page.length) {
      const next = await this.pages.next();
      if (next.done === true) return null;
      [this.page, this.place] = [next.value, 0];
    }
    return this.page[this.place]!;
  }
}
