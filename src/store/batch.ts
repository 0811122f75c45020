/**
 * One unit of work: a transaction that carries many operations. This file alone knows how a batch is read and written; the
 * domain sees locked entities and decides synchronously. What they changed is found by comparing rows, and written by one statement
 * for each table: measured against a flush of the ORM, twice as many operations a second.
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
import { Rows, type Row } from './rows.js';

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

/** The transaction with this id may or may not have been committed. */
export class CommitInDoubt extends Error {
  constructor(readonly xid: string, readonly decisions: readonly Decision[], readonly versioned: boolean, cause: unknown) {
    super('the connection was lost during COMMIT', { cause });
  }
}

export interface BatchStore {
  readonly orm: MikroORM;
  readonly tables: Tables;
  lateSuccessPolicy(appId: string): LateSuccessPolicy;
}

/** The tables that a unit of work writes, in the order in which it writes them. */
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

  let committing: { xid: string; decisions: Decision[]; versioned: boolean } | null = null;
  try {
    const [row] = await em.execute<[{ xid: string }]>('select pg_current_xact_id()::text as xid');
    const view = await BatchView.load({ ...store, em, at, passLocked }, operations);
    const decisions = operations.map((operation, index) => decide(operation, view, index));
    await view.write();
    // Everything is written; the ORM must not look for changes of its own.
    em.clear();

    committing = { xid: row.xid, decisions, versioned: view.versioned };
    await em.commit();
    return committing;
  } catch (error) {
    // Rolls back, or gives a broken connection back to the pool; what failed first is what matters.
    await em.rollback().catch(() => undefined);
    if (committing !== null) throw new CommitInDoubt(committing.xid, committing.decisions, committing.versioned, error);
    throw error;
  }
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

  /** Locks first, in a fixed order; then one query for each kind of key. */
  static async load(batch: BatchOptions, operations: readonly Operation<unknown>[]): Promise<BatchView> {
    const view = new BatchView(batch);
    const orders = operations.flatMap((operation) => operation.order ?? []);
    const ids = [...new Set(operations.flatMap((operation) => operation.payments ?? []))];

    await view.lockOrders(orders);
    await view.lockPayments(ids, orders);
    await view.loadRefunds();
    await view.loadRequests(operations);
    await view.loadPaidOrders(operations.flatMap((operation) => operation.businessOrder ?? []));
    await view.loadNotifications(operations.flatMap((operation) => operation.notification ?? []), orders);
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

  async write(): Promise<void> {
    for (const [kind, rows] of this.tables) {
      const isOfKind = (entity: object): boolean => Object.getPrototypeOf(entity) === kind;
      await rows.insert(this.em, this.added.filter(isOfKind).map((entity) => rows.read(entity)));
      const before = [...this.loaded].filter(([entity]) => isOfKind(entity));
      await rows.update(this.em, before.map(([entity, row]) => ({ before: row, after: rows.read(entity) })));
    }
    await this.endSync();
    await this.writeSyncDue();
  }

  /** A payment that was settled is looked at no more; one that is open again is. */
  private async endSync(): Promise<void> {
    const ended: string[] = [];
    for (const [payment, before] of this.statuses) {
      const need = syncNeed(before, payment.status, this.refundsOf.get(payment.id)?.rows ?? []);
      if (need === 'BEGINS') this.syncDue(payment, this.at);
      if (need === 'ENDS' && !this.due.has(payment)) ended.push(payment.id);
    }
    if (ended.length === 0) return;
    await boundQuery(this.em, 'delete from payment_sync where payment_id = any($1::uuid[])', [ended]);
  }

  private async writeSyncDue(): Promise<void> {
    if (this.due.size === 0) return;
    const rows = [...this.due].sort(([a], [b]) => (a.id < b.id ? -1 : 1));
    const lists = [
      rows.map(([{ id }]) => id),
      rows.map(([{ platform }]) => platform),
      rows.map(([{ merchantAccount }]) => merchantAccount),
      rows.map(([, at]) => at.toISOString()),
    ];
    await boundQuery(
      this.em,
      `insert into payment_sync (payment_id, platform, merchant_account, due_at)
       select * from unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[])
       on conflict (payment_id) do update set due_at = least(payment_sync.due_at, excluded.due_at)`,
      lists,
    );
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

  /** Whoever creates an order's payment and whoever parks its notification take this lock, so that neither misses the other. */
  private async lockOrders(orders: readonly OrderKey[]): Promise<void> {
    if (orders.length === 0) return;
    const names = [...new Set(orders.map(orderText))];
    await this.em.execute(
      `select pg_advisory_xact_lock(key) from (
         select hashtextextended(name, 0) as key from (values ${names.map(() => '(?)').join(', ')}) names (name) order by key
       ) keys`,
      names,
    );
  }

  private async lockPayments(ids: readonly PaymentId[], orders: readonly OrderKey[]): Promise<void> {
    // An order's payment never changes, and no new one can appear under the lock of its name: the id may be read before it is locked.
    const ofOrders = await this.lookUp<OrderKey & { readonly id: string }>(
      `select t.id, t.platform, t.merchant_account as "merchantAccount", t.merchant_order_no as "merchantOrderNo", t.platform_order_time as "platformOrderTime" from payment t`,
      ORDER_COLUMNS,
      orders.map(orderValues),
    );
    const wanted = [...new Set([...ids, ...ofOrders.map(({ id }) => id)])];
    if (wanted.length === 0) return;
    const lockMode = this.batch.passLocked ? LockMode.PESSIMISTIC_PARTIAL_WRITE : LockMode.PESSIMISTIC_WRITE;
    const found = await this.em.find(Payment, { id: { $in: wanted } }, { lockMode, orderBy: { id: 'asc' } });
    if (this.batch.passLocked) await this.findHeld(wanted.filter((id) => !found.some((payment) => payment.id === id)), ofOrders);
    for (const payment of found) {
      this.remember(this.keep(payment));
      this.statuses.set(payment, payment.status);
    }
  }

  private async findHeld(missing: readonly string[], orders: readonly (OrderKey & { readonly id: string })[]): Promise<void> {
    const held = await this.lookUp<{ id: string }>('select t.id from payment t', ['id'], missing.map((id) => [id]));
    for (const { id } of held) this.held.add(id);
    for (const order of orders) if (this.held.has(order.id)) this.held.add(orderText(order));
  }

  private async loadRefunds(): Promise<void> {
    if (this.payments.size === 0) return;
    const rows = await this.em.find(Refund, { paymentId: { $in: [...this.payments.keys()] } }, { orderBy: { id: 'asc' } });
    for (const refund of rows) this.refunds(this.payments.get(refund.paymentId)!).rows.push(this.keep(refund));
  }

  private async loadRequests(operations: readonly Operation<unknown>[]): Promise<void> {
    const keys = operations.flatMap(({ request, payments }) => {
      if (request === undefined) return [];
      const appId = request.appId ?? this.payments.get(payments?.[0] ?? '')?.appId;
      return appId === undefined ? [] : [[appId, request.method, request.requestId]];
    });
    const known = await this.lookUp<{ appId: string; method: string; requestId: string }>(
      'select t.app_id as "appId", t.method, t.request_id as "requestId" from request t', ['app_id', 'method', 'request_id'], keys,
    );
    if (known.length === 0) return;
    for (const record of await this.em.find(RequestRecord, { $or: known })) this.remember(record);
  }

  private async loadPaidOrders(wanted: readonly BusinessOrder[]): Promise<void> {
    const keys = [...this.payments.values(), ...wanted].map(({ appId, orderId }) => [appId, orderId]);
    const known = await this.lookUp<{ appId: string; orderId: string }>(
      'select t.app_id as "appId", t.order_id as "orderId" from paid_order t', ['app_id', 'order_id'], keys,
    );
    if (known.length === 0) return;
    for (const paidOrder of await this.em.find(PaidOrder, { $or: known })) this.remember(paidOrder);
  }

  private async loadNotifications(keys: readonly NotificationKey[], orders: readonly OrderKey[]): Promise<void> {
    const select = 'select t.id from notification t';
    const byKey = await this.lookUp<{ id: string }>(select, ['platform', 'notification_id'], keys.map(({ platform, notificationId }) => [platform, notificationId]));
    const waiting = await this.lookUp<{ id: string }>(select, ORDER_COLUMNS, orders.map(orderValues), `t.status in ('ORPHAN', 'STORED')`);
    const ids = new Set([...byKey, ...waiting].map(({ id }) => id));
    if (ids.size === 0) return;
    const rows = await this.em.find(Notification, { id: { $in: [...ids] } }, { orderBy: { receivedAt: 'asc' } });
    for (const row of rows) this.remember(this.keep(row));
  }

  /** The rows that have any of some keys, by one statement however many keys there are; a list of alternatives would be planned anew. */
  private async lookUp<Row>(select: string, columns: readonly string[], keys: readonly (readonly string[])[], condition = 'true'): Promise<Row[]> {
    if (keys.length === 0) return [];
    const lists = columns.map((_column, at) => keys.map((key) => key[at]));
    const unnested = `unnest(${columns.map((_column, at) => `$${at + 1}::text[]`).join(', ')}) as k (${columns.join(', ')})`;
    const same = columns.map((column) => `t.${column} = k.${column}${column === 'id' ? '::uuid' : ''}`).join(' and ');
    return await boundQuery<Row>(this.em, `${select} join ${unnested} on ${same} where ${condition}`, lists);
  }
}

function paymentHeld(what: string): DomainError {
  return new DomainError('STORE_UNAVAILABLE', `the payment ${what} is held by somebody else`, { metadata: { held: what }, retryAfterMs: 1_000 });
}

const ORDER_COLUMNS = ['platform', 'merchant_account', 'merchant_order_no', 'platform_order_time'];
const orderValues = (key: OrderKey): string[] => [key.platform, key.merchantAccount, key.merchantOrderNo, key.platformOrderTime];

const orderText = (key: OrderKey): string =>
  JSON.stringify([key.platform, key.merchantAccount, key.merchantOrderNo, key.platformOrderTime]);
const requestText = (key: RequestKey): string => JSON.stringify([key.appId, key.method, key.requestId]);
const notificationText = (key: NotificationKey): string => JSON.stringify([key.platform, key.notificationId]);
const paidOrderText = (appId: string, orderId: string): string => JSON.stringify([appId, orderId]);
