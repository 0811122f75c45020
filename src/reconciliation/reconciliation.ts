import { defineEntity, p } from '@mikro-orm/postgresql';
import type { ApplyOutcome } from '../payment/payment.js';
import type { BillRow, PlatformName } from '../payment/platform.js';

export type ReconciliationId = string & { readonly brand?: 'ReconciliationId' };
export type ReconciliationStatus = 'RUNNING' | 'COMPLETED' | 'FAILED';

/** How a bill and the records differ; the contract says what each means. */
export type FindingKind = 'MISSING_HERE' | 'MISSING_THERE' | 'AMOUNT_DIFFERS' | 'STATUS_DIFFERS' | 'BILLED_TWICE' | 'WRONG_DAY';

const schema = defineEntity({
  name: 'Reconciliation',
  tableName: 'reconciliation',
  properties: {
    id: p.uuid().primary(),
    requestId: p.text(),
    bodyHash: p.text(),
    /** Who asked for it; in whose name findings are applied. */
    operator: p.text(),
    platform: p.text().$type<PlatformName>(),
    merchantAccount: p.text(),
    /** Beijing, `yyyy-MM-dd`. */
    day: p.text(),
    apply: p.boolean(),
    status: p.text().$type<ReconciliationStatus>(),
    billRows: p.bigint(),
    matched: p.bigint(),
    findingCount: p.bigint(),
    feeTotal: p.bigint(),
    failure: p.text(),
    /** How often a replica took it up. */
    attempts: p.integer(),
    leaseHolder: p.uuid().strictNullable(),
    leaseUntil: p.datetime(3).strictNullable(),
    /** When the whole bill had been compared: from then on the findings stand, and nothing is compared anew. */
    comparedAt: p.datetime(3).strictNullable(),
    startedAt: p.datetime(3),
    endedAt: p.datetime(3).strictNullable(),
  },
});

/** One comparison of a day's settlement bill with the records. */
export class Reconciliation extends schema.class {}
schema.setClass(Reconciliation);
export { schema as ReconciliationSchema };

/** A row of a bill as it is stored, for being applied later. */
export type StoredBillRow = Omit<BillRow, 'amount' | 'fee' | 'at'> & { readonly minorUnits: string; readonly currency: string; readonly at: string };

const findingSchema = defineEntity({
  name: 'ReconciliationFinding',
  tableName: 'reconciliation_finding',
  properties: {
    reconciliationId: p.uuid().primary(),
    /** The number of its row in the bill; what the bill lacks comes after all rows. The same however often the bill is read. */
    place: p.bigint().primary(),
    kind: p.text().$type<FindingKind>(),
    about: p.text().$type<BillRow['kind']>(),
    paymentId: p.uuid().strictNullable(),
    refundId: p.uuid().strictNullable(),
    merchantOrderNo: p.text(),
    platformTransactionId: p.text(),
    platformRefundNo: p.text(),
    recorded: p.text(),
    billed: p.text(),
    /** Null where the bill has none. */
    billRow: p.json<StoredBillRow>().strictNullable(),
    outcome: p.text().$type<ApplyOutcome>().strictNullable(),
    appliedAt: p.datetime(3).strictNullable(),
  },
});

/** One difference. */
export class ReconciliationFinding extends findingSchema.class {}
findingSchema.setClass(ReconciliationFinding);
export { findingSchema as ReconciliationFindingSchema };
