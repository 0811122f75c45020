/**
 * One unit of work: a transaction that carries many operations. This file alone knows how a batch is read and written; the
 * domain sees locked entities and decides synchronously. What they changed is found by comparing rows, and written by one statement:
 * measured against a flush of the ORM, twice as many operations a second.
 */
import type { EntityManager, MikroORM } from '@mikro-orm/postgresql';
import { LockMode } from '@mikro-orm/postgresql';
import { Notification } from '../notification/notification.js';
import { DomainError, paymentNotFound } from '../payment/errors.js';
import type { LateSuccessPolicy } from '../payment/late-success.js';
import { PaidOrder } from '../payment/paid-order.js';
import { Payment, type PaymentId } from '../payment/payment.js';
import { PaymentLogEntry, type Act, type Actor } from '../payment/payment-log.js';
import type { PaymentStatus } from '../payment/payment-status.js';
import type { PlatformName } from '../payment/platform.js';
import { RequestRecord } from '../payment/request-record.js';
import { syncNeed } from '../payment/sync-need.js';
import { PaymentRefunds } from '../refund/payment-refunds.js';
import { Refund } from '../refund/refund.js';
import { boundQuery } from './bound-query.js';
import { readParts, writeParts, type Part } from './parts.js';
import { isChanged, Rows, type Row, type WrittenRow } from './rows.js';

/** A platform's key of an order; at most one payment has it. */
export interface OrderKey {
  readonly platform: PlatformName;
  readonly merchantAccount: string;
  readonly merchantOrderNo: string;
  readonly platformOrderTime: string;
}

export interface NotificationKey {
  readonly platform: PlatformName;
  readonly notificationId: string;
}

export interface BusinessOrder {
  readonly appId: string;
  readonly orderId: string;
}

export interface RequestKey {
  /** Null where the request names only a payment: then it is that payment's app. */
  readonly appId: string | null;
  readonly method: string;
  readonly requestId: string;
}

/** What an operation needs to see, and what it decides. */
export interface Operation<T> {
  /** Payments to lock. */
  readonly payments?: readonly PaymentId[];
  /** An order whose payment is locked if there is one; held against anybody who creates or parks it at the same time. */
  readonly order?: OrderKey;
  readonly request?: RequestKey;
  readonly notification?: NotificationKey;
  /** An order of the business whose first paid payment must be known, where no locked payment names it yet. */
  readonly businessOrder?: BusinessOrder;
  /**
   * Decides synchronously on locked entities and on what earlier operations of the same batch left. A DomainError refuses; it
   * must be thrown before anything but the log is changed. May run again on fresh entities: it captures none.
   */
  decide(view: View): T;
}

export interface View {
  /** The time of this unit of work. */
  readonly at: Date;
  act(actor: Actor): Act;
  /** A locked or just created payment; PAYMENT_NOT_FOUND when there is none. */
  payment(id: PaymentId): Payment;
  refunds(payment: Payment): PaymentRefunds;
  paymentOfOrder(order: OrderKey): Payment | undefined;
  /** Verified notifications of an order that were never applied. */
  waitingNotifications(order: OrderKey): readonly Notification[];
  request(key: RequestKey & { readonly appId: string }): RequestRecord | undefined;
  notification(key: NotificationKey): Notification | undefined;
  paidOrder(appId: string, orderId: string): PaidOrder | undefined;
  lateSuccessPolicy(appId: string): LateSuccessPolicy;
  add(entity: Payment | RequestRecord | Notification | PaidOrder): void;
  /** Has the sync worker look at the payment at that time, or before if it is due earlier. */
  syncDue(payment: Payment, at: Date): void;
}

export type Decision = { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly error: unknown };

/** The operation at `index` failed in its own code; its neighbours are innocent. */
export class PoisonedDecision extends Error {
  constructor(readonly index: number, cause: unknown) {
    super('an operation failed while deciding', { cause });
  }
}

/** The transaction may or may not have been committed. */
export class CommitInDoubt extends Error {
  constructor(readonly committing: Committing, cause: unknown) {
    super('the connection was lost during COMMIT', { cause });
  }
}

export interface Committing extends BatchResult {
  readonly xid: string;
  /** Null where nothing was written. */
  readonly witness: Witness | null;
}

/**
 * One row that the transaction has written. Its id alone says nothing for sure: after a crash the ids that were lost are given to other
 * transactions.
 */
export interface Witness extends WrittenRow {
  /** Nobody may change or delete it afterwards: when it is not there, the transaction was not committed. */
  readonly isLasting: boolean;
}

export interface BatchStore {
  readonly orm: MikroORM;
  readonly tables: Tables;
  lateSuccessPolicy(appId: string): LateSuccessPolicy;
}

/** The tables that a unit of work writes. */
export type Tables = ReadonlyMap<object, Rows>;

export function tablesOf(orm: MikroORM): Tables {
  const classes = { Payment, Refund, RequestRecord, PaidOrder, Notification, PaymentLogEntry };
  return new Map(Object.entries(classes).map(([name, entity]) => [entity.prototype, new Rows(orm, name)]));
}

export interface BatchResult {
  readonly decisions: readonly Decision[];
  /** Whether the feed has something new. */
  readonly versioned: boolean;
}

/**
 * `passLocked`: a payment that somebody outside of all units of work holds is not waited for; the operations that need it are refused
 * with STORE_UNAVAILABLE, and their neighbours go on.
 */
export async function runBatch(
  store: BatchStore,
  operations: readonly Operation<unknown>[],
  { at, passLocked }: { at: Date; passLocked: boolean },
): Promise<BatchResult> {
  const em = store.orm.em.fork() as EntityManager;
  await em.begin();

  let committing: Committing | null = null;
  try {
    const xid = await enter(em, operations.flatMap(({ order }) => order ?? []));
    const view = await BatchView.load({ ...store, em, at, passLocked }, operations);
    const decisions = operations.map((operation, index) => decide(operation, view, index));
    const witness = await view.write();
    // Everything is written; the ORM must not look for changes of its own.
    em.clear();

    committing = { xid, decisions, versioned: view.versioned, witness };
    await em.commit();
    return committing;
  } catch (error) {
    // Rolls back, or gives a broken connection back to the pool; what failed first is what matters.
    await em.rollback().catch(() => undefined);
    if (committing !== null) throw new CommitInDoubt(committing, error);
    throw error;
  }
}

/**
 * Takes the transaction's id, and the lock of each order that is named: whoever creates an order's payment and whoever parks its
 * notification hold it, so that neither misses the other. What they read is read by later statements, which see what others did before.
 */
async function enter(em: EntityManager, orders: readonly OrderKey[]): Promise<string> {
  const [row] = await boundQuery<{ xid: string }>(
    em,
    `select pg_current_xact_id()::text as xid, count(pg_advisory_xact_lock(key))
       from (select hashtextextended(name, 0) as key from unnest($1::text[]) as names (name) order by key) keys`,
    [[...new Set(orders.map(orderText))]],
  );
  return row!.xid;
}

/** Names of everything an operation needs exclusively, so that two batches in flight never wait for each other's rows. */
export function exclusiveKeys(operation: Operation<unknown>): string[] {
  const keys = (operation.payments ?? []).map((id) => `payment ${id}`);
  if (operation.order !== undefined) keys.push(`order ${orderText(operation.order)}`);
  if (operation.request !== undefined) keys.push(`request ${requestText(operation.request)}`);
  if (operation.notification !== undefined) keys.push(`notification ${notificationText(operation.notification)}`);
  return keys;
}

function decide(operation: Operation<unknown>, view: View, index: number): Decision {
  try {
    return { ok: true, value: operation.decide(view) };
  } catch (error) {
    if (error instanceof DomainError) return { ok: false, error };
    throw new PoisonedDecision(index, error);
  }
}

interface BatchOptions extends BatchStore {
  readonly em: EntityManager;
  readonly at: Date;
  readonly passLocked: boolean;
}

class BatchView implements View {
  versioned = false;
  private readonly payments = new Map<string, Payment>();
  private readonly orders = new Map<string, Payment>();
  private readonly refundsOf = new Map<string, PaymentRefunds>();
  private readonly requests = new Map<string, RequestRecord>();
  private readonly notifications = new Map<string, Notification>();
  private readonly waiting = new Map<string, Notification[]>();
  private readonly paidOrders = new Map<string, PaidOrder>();
  private readonly due = new Map<Payment, Date>();
  /** What was read, with its row as it was. */
  private readonly loaded = new Map<object, Row>();
  private readonly statuses = new Map<Payment, PaymentStatus>();
  private readonly added: object[] = [];

  /** Payments and orders that somebody else holds, where they are not waited for. */
  private readonly held = new Set<string>();
  private readonly em: EntityManager;
  private readonly tables: Tables;
  readonly at: Date;

  private constructor(private readonly batch: BatchOptions) {
    this.em = batch.em;
    this.tables = batch.tables;
    this.at = batch.at;
  }

  /** Locks first, in a fixed order; what hangs on keys of orders and requests is read under these locks. */
  static async load(batch: BatchOptions, operations: readonly Operation<unknown>[]): Promise<BatchView> {
    const view = new BatchView(batch);
    const ids = operations.flatMap((operation) => operation.payments ?? []);
    // An order's payment never changes, and no new one can appear under the lock of its name: the id may be read before it is locked.
    let known = operations.some(({ order }) => order !== undefined) ? await view.lookUp(operations) : null;
    const ofOrders = known?.payment ?? [];
    const wanted = [...new Set([...ids, ...ofOrders.map(([id]) => id!)])];
    if (wanted.length > 0) {
      await view.lockPayments(wanted, ofOrders);
      await view.loadRefunds();
      known = null;
    }
    await view.load(known ?? (await view.lookUp(operations)));
    return view;
  }

  act(actor: Actor): Act {
    return {
      actor,
      at: this.at,
      record: (entry: PaymentLogEntry) => {
        if (entry.version !== null) this.versioned = true;
        this.added.push(entry);
      },
    };
  }

  payment(id: PaymentId): Payment {
    const payment = this.payments.get(id);
    if (payment !== undefined) return payment;
    throw this.held.has(id) ? paymentHeld(id) : paymentNotFound(id);
  }

  refunds(payment: Payment): PaymentRefunds {
    let refunds = this.refundsOf.get(payment.id);
    if (refunds === undefined) {
      refunds = new PaymentRefunds(payment, [], (refund) => void this.added.push(refund));
      this.refundsOf.set(payment.id, refunds);
    }
    return refunds;
  }

  paymentOfOrder(order: OrderKey): Payment | undefined {
    if (this.held.has(orderText(order))) throw paymentHeld(order.merchantOrderNo);
    return this.orders.get(orderText(order));
  }

  waitingNotifications(order: OrderKey): readonly Notification[] {
    return this.waiting.get(orderText(order)) ?? [];
  }

  request(key: RequestKey & { readonly appId: string }): RequestRecord | undefined {
    return this.requests.get(requestText(key));
  }

  notification(key: NotificationKey): Notification | undefined {
    return this.notifications.get(notificationText(key));
  }

  lateSuccessPolicy(appId: string): LateSuccessPolicy {
    return this.batch.lateSuccessPolicy(appId);
  }

  paidOrder(appId: string, orderId: string): PaidOrder | undefined {
    return this.paidOrders.get(paidOrderText(appId, orderId));
  }

  add(entity: Payment | RequestRecord | Notification | PaidOrder): void {
    this.remember(entity);
    this.added.push(entity);
  }

  syncDue(payment: Payment, at: Date): void {
    const known = this.due.get(payment);
    if (known === undefined || at < known) this.due.set(payment, at);
  }

  async write(): Promise<Witness | null> {
    const parts: (Part | null)[] = [];
    let witness: Witness | null = null;
    for (const [kind, rows] of this.tables) {
      const isOfKind = (entity: object): boolean => Object.getPrototypeOf(entity) === kind;
      const added = this.added.filter(isOfKind).map((entity) => rows.read(entity));
      const changed = [...this.loaded].filter(([entity]) => isOfKind(entity)).map(([entity, before]) => ({ before, after: rows.read(entity) })).filter(isChanged);
      parts.push(rows.insertion(added), rows.update(changed));
      // The log comes last, and is the best one.
      const written = added[0] ?? changed[0]?.after;
      if (written !== undefined) witness = { ...rows.written(written), isLasting: kind === PaymentLogEntry.prototype };
    }
    const ended = this.endSync();
    const due = await writeParts<DueRow>(this.em, [...parts, ended], this.beginSync());
    for (const { id, due_at } of due) this.payments.get(id)!.nextSyncAt = new Date(due_at);
    const [first] = due;
    if (first !== undefined) witness ??= { table: 'payment_sync', columns: [{ name: 'payment_id', type: 'uuid', value: first.id }], isLasting: false };
    return witness;
  }

  /** A payment that was settled is looked at no more; one that is open again is. */
  private endSync(): Part | null {
    const ended: string[] = [];
    for (const [payment, before] of this.statuses) {
      const need = syncNeed(before, payment.status, this.refundsOf.get(payment.id)?.rows ?? []);
      if (need === 'BEGINS') this.syncDue(payment, this.at);
      if (need !== 'ENDS' || this.due.has(payment)) continue;
      ended.push(payment.id);
      payment.nextSyncAt = null;
    }
    if (ended.length === 0) return null;
    return { values: [ended], text: (from) => `delete from payment_sync where payment_id = any($${from}::uuid[])` };
  }

  private beginSync(): Part | null {
    if (this.due.size === 0) return null;
    const rows = [...this.due].sort(([a], [b]) => (a.id < b.id ? -1 : 1));
    return {
      values: [
        rows.map(([{ id }]) => id),
        rows.map(([{ platform }]) => platform),
        rows.map(([{ merchantAccount }]) => merchantAccount),
        rows.map(([, at]) => at.toISOString()),
      ],
      text: (from) =>
        `insert into payment_sync (payment_id, platform, merchant_account, due_at)
         select * from unnest($${from}::uuid[], $${from + 1}::text[], $${from + 2}::text[], $${from + 3}::timestamptz[])
         on conflict (payment_id) do update set due_at = least(payment_sync.due_at, excluded.due_at)
         returning payment_id as id, due_at::text`,
    };
  }

  private keep<T extends object>(entity: T): T {
    this.loaded.set(entity, this.tables.get(Object.getPrototypeOf(entity) as object)!.read(entity));
    return entity;
  }

  private remember(entity: Payment | RequestRecord | Notification | PaidOrder): void {
    if (entity instanceof Payment) {
      this.payments.set(entity.id, entity);
      this.orders.set(orderText(entity), entity);
    } else if (entity instanceof RequestRecord) {
      this.requests.set(requestText(entity), entity);
    } else if (entity instanceof PaidOrder) {
      this.paidOrders.set(paidOrderText(entity.appId, entity.orderId), entity);
    } else if (entity.notificationId !== null) {
      this.notifications.set(notificationText({ platform: entity.platform, notificationId: entity.notificationId }), entity);
      this.await(entity);
    }
  }

  /** Whoever creates its payment applies it, also in the batch that has parked it. */
  private await(notification: Notification): void {
    const { merchantOrderNo, status } = notification;
    if (merchantOrderNo === null || (status !== 'ORPHAN' && status !== 'STORED')) return;
    const name = orderText({ ...notification, merchantOrderNo });
    this.waiting.set(name, [...(this.waiting.get(name) ?? []), notification]);
  }

  private async lockPayments(ids: readonly string[], ofOrders: readonly Key[]): Promise<void> {
    const lockMode = this.batch.passLocked ? LockMode.PESSIMISTIC_PARTIAL_WRITE : LockMode.PESSIMISTIC_WRITE;
    const found = await this.em.find(Payment, { id: { $in: [...ids] } }, { lockMode, orderBy: { id: 'asc' } });
    if (this.batch.passLocked) await this.findHeld(ids.filter((id) => !found.some((payment) => payment.id === id)), ofOrders);
    for (const payment of found) {
      this.remember(this.keep(payment));
      this.statuses.set(payment, payment.status);
    }
  }

  private async findHeld(missing: readonly string[], ofOrders: readonly Key[]): Promise<void> {
    const held = await readParts<{ key: Key }>(this.em, [knownAmong('payment', ['id'], ['id'], missing.map((id) => [id]))]);
    for (const { key: [id] } of held) this.held.add(id!);
    for (const [id, ...order] of ofOrders) if (this.held.has(id!)) this.held.add(JSON.stringify(order));
  }

  private async loadRefunds(): Promise<void> {
    if (this.payments.size === 0) return;
    const rows = await this.em.find(Refund, { paymentId: { $in: [...this.payments.keys()] } }, { orderBy: { id: 'asc' } });
    for (const refund of rows) this.refunds(this.payments.get(refund.paymentId)!).rows.push(this.keep(refund));
  }

  /** Which of the rows that the operations need by other keys there are, as far as these keys are known by now: few, or none. */
  private async lookUp(operations: readonly Operation<unknown>[]): Promise<Record<Kind, readonly Key[]>> {
    const orders = operations.flatMap(({ order }) => order ?? []).map(orderValues);
    const requests = operations.flatMap(({ request, payments }) => {
      if (request === undefined) return [];
      const appId = request.appId ?? this.payments.get(payments?.[0] ?? '')?.appId;
      return appId === undefined ? [] : [[appId, request.method, request.requestId]];
    });
    const businessOrders = [...this.payments.values(), ...operations.flatMap(({ businessOrder }) => businessOrder ?? [])];
    const paidOrders = businessOrders.map(({ appId, orderId }) => [appId, orderId]);
    const notifications = operations.flatMap(({ notification }) => notification ?? []).map(({ platform, notificationId }) => [platform, notificationId]);

    const known = await readParts<{ kind: Kind; key: Key }>(
      this.em,
      [
        knownAmong('payment', ['id', ...ORDER], ORDER, orders),
        knownAmong('request', REQUEST, REQUEST, requests),
        knownAmong('paid_order', PAID_ORDER, PAID_ORDER, paidOrders),
        knownAmong('notification', ['id'], ['platform', 'notification_id'], notifications),
        knownAmong('notification', ['id'], ORDER, orders, `t.status in ('ORPHAN', 'STORED')`),
      ],
    );
    const keysOf = (kind: Kind): Key[] => known.filter((one) => one.kind === kind).map(({ key }) => key);
    return { payment: keysOf('payment'), request: keysOf('request'), paid_order: keysOf('paid_order'), notification: keysOf('notification') };
  }

  private async load(known: Record<Kind, readonly Key[]>): Promise<void> {
    const { request: requests, paid_order: paidOrders } = known;
    const notifications = [...new Set(known.notification.map(([id]) => id!))];
    if (requests.length > 0) {
      const wanted = requests.map(([appId, method, requestId]) => ({ appId: appId!, method: method!, requestId: requestId! }));
      for (const record of await this.em.find(RequestRecord, { $or: wanted })) this.remember(record);
    }
    if (paidOrders.length > 0) {
      const wanted = paidOrders.map(([appId, orderId]) => ({ appId: appId!, orderId: orderId! }));
      for (const paidOrder of await this.em.find(PaidOrder, { $or: wanted })) this.remember(paidOrder);
    }
    if (notifications.length > 0) {
      const rows = await this.em.find(Notification, { id: { $in: notifications } }, { orderBy: { receivedAt: 'asc' } });
      for (const row of rows) this.remember(this.keep(row));
    }
  }
}

interface DueRow {
  readonly id: string;
  readonly due_at: string;
}

/** Values of a row's key. */
type Key = readonly string[];
type Kind = 'payment' | 'request' | 'paid_order' | 'notification';

const ORDER = ['platform', 'merchant_account', 'merchant_order_no', 'platform_order_time'];
const REQUEST = ['app_id', 'method', 'request_id'];
const PAID_ORDER = ['app_id', 'order_id'];

/**
 * The rows of a table that have any of some keys, each told by some of its columns. One list of values for each column of the key: the
 * statement is the same however many keys there are, where a list of alternatives would be planned anew.
 */
function knownAmong(kind: Kind, told: readonly string[], columns: readonly string[], keys: readonly Key[], condition = 'true'): Part | null {
  if (keys.length === 0) return null;
  const same = columns.map((column) => `t.${column} = k.${column}${column === 'id' ? '::uuid' : ''}`).join(' and ');
  return {
    values: columns.map((_column, at) => keys.map((key) => key[at]!)),
    text: (from) => `
      select '${kind}' as kind, array[${told.map((column) => `t.${column}::text`).join(', ')}] as key from ${kind} t
        join unnest(${columns.map((_column, at) => `$${from + at}::text[]`).join(', ')}) as k (${columns.join(', ')}) on ${same} where ${condition}`,
  };
}

function paymentHeld(what: string): DomainError {
  return new DomainError('STORE_UNAVAILABLE', `the payment ${what} is held by somebody else`, { metadata: { held: what }, retryAfterMs: 1_000 });
}

const orderValues = (key: OrderKey): string[] => [key.platform, key.merchantAccount, key.merchantOrderNo, key.platformOrderTime];

const orderText = (key: OrderKey): string =>
  JSON.stringify([key.platform, key.merchantAccount, key.merchantOrderNo, key.platformOrderTime]);
const requestText = (key: RequestKey): string => JSON.stringify([key.appId, key.method, key.requestId]);
const notificationText = (key: NotificationKey): string => JSON.stringify([key.platform, key.notificationId]);
const paidOrderText = (appId: string, orderId: string): string => JSON.stringify([appId, orderId]);
