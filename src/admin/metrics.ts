/** What Prometheus scrapes: GetSystemHealth's figures as gauges, beside those of the process. No id of a payment or a caller is a label. */
import { collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import type { FeedHealth } from '../feed/feed.js';
import type { SystemHealth } from '../stats/get-system-health.js';

export interface MetricSources {
  readonly systemHealth: () => Promise<SystemHealth>;
  readonly feedHealth: () => FeedHealth;
  readonly entranceHealth: () => { readonly refused: bigint; readonly quarantined: bigint };
  readonly now: () => Date;
}

/** Counting a million open payments takes a moment: scrapes that come together, or soon after one another, share it. */
const FRESH_MS = 5_000;

const GAUGES = {
  store_up: ['whether the database answers; without it everything that is read from it is absent', []],
  store_latency_seconds: ['how long the database takes for a trivial query', []],
  payments_unsettled: ['payments that are not settled, by status', ['platform', 'status']],
  payments_stuck: ['unsettled payments that ought to have been settled by now', ['platform', 'status']],
  payments_stuck_age_seconds: ['for how long the worst of them ought to have been settled', ['platform', 'status']],
  refunds_open: ['refunds that have not ended; their reservations are held', ['platform', 'status']],
  refunds_stuck: ['open refunds that ought to have ended by now', ['platform', 'status']],
  refunds_stuck_age_seconds: ['for how long the worst of them ought to have ended', ['platform', 'status']],
  sync_waiting: ['payments in the schedule of queries', []],
  sync_due: ['payments that are due to be asked about', []],
  sync_lag_seconds: ['for how long the longest due one has been due', []],
  platform_circuit_open: ['operations that this replica leaves alone for a while', ['platform', 'merchant_account', 'operation']],
  platform_unmapped_words: ['words of the platform that nobody has mapped, times they were recorded', ['platform']],
  notifications_stored: ['notifications in the inbox, by their fate', ['status']],
  notifications_refused: ['deliveries that proved nothing, since the start of this replica', []],
  notifications_quarantined: ['refused deliveries that were written down, since the start of this replica', []],
  reconciliation_last_run_timestamp_seconds: ['end of the last run about the latest compared day', ['platform', 'merchant_account']],
  reconciliation_findings: ['findings of that run', ['platform', 'merchant_account']],
  reconciliation_failed_runs: ['runs that failed after it', ['platform', 'merchant_account']],
  feed_head_revision: ['the last revision of the feed', []],
  feed_epoch: ['the history that the revisions belong to', []],
  feed_lag_seconds: ['everything committed before this long ago is published', []],
  feed_watchers: ['open watches of this replica', []],
  feed_transport_up: ['whether the configured transport brings the events; else they are read from the database', []],
  feed_transport_refused: ['publishes of this replica that came too late or too early, since it is connected', []],
  feed_events_brought: ['events that JetStream has brought to this replica since its start', []],
  feed_events_read: ['events that this replica has read from the database since its start', []],
} as const satisfies Record<string, readonly [help: string, labels: readonly string[]]>;
type GaugeName = keyof typeof GAUGES;
const UNLABELED = (Object.keys(GAUGES) as GaugeName[]).filter((name) => GAUGES[name][1].length === 0);

export class Metrics {
  private readonly registry = new Registry();
  private readonly gauges: Record<GaugeName, Gauge>;
  private text: Promise<string> | null = null;

  constructor(private readonly sources: MetricSources) {
    collectDefaultMetrics({ register: this.registry });
    this.gauges = Object.fromEntries(
      Object.entries(GAUGES).map(([name, [help, labelNames]]) => [name, new Gauge({ name, help, labelNames, registers: [this.registry] })]),
    ) as Record<GaugeName, Gauge>;
  }

  get contentType(): string {
    return this.registry.contentType;
  }

  scrape(): Promise<string> {
    // Never two at once, however long the database takes: they fill the same gauges.
    this.text ??= this.read().finally(() => setTimeout(() => (this.text = null), FRESH_MS).unref());
    return this.text;
  }

  private async read(): Promise<string> {
    // What is gone, such as the last payment of a status, must not stay as it was.
    for (const gauge of Object.values(this.gauges)) gauge.reset();
    // A gauge without labels is 0 after that, which for a database that is away would be a lie.
    for (const name of UNLABELED) this.gauges[name].remove({});
    const health = await this.sources.systemHealth().catch(() => null);
    this.set('store_up', health === null ? 0 : 1);
    if (health !== null) this.setStored(health);
    this.setOwn();
    return await this.registry.metrics();
  }

  private setStored(health: SystemHealth): void {
    this.set('store_latency_seconds', health.databaseLatencyMs / 1_000);
    for (const [names, rows] of [[PAYMENTS, health.unsettled], [REFUNDS, health.openRefunds]] as const) {
      for (const { platform, status, count, stuck } of rows) {
        this.set(names.open, count, { platform, status });
        this.set(names.stuck, stuck.count, { platform, status });
        this.set(names.age, this.secondsSince(stuck.since), { platform, status });
      }
    }
    this.set('sync_waiting', health.sync.waiting);
    this.set('sync_due', health.sync.due);
    this.set('sync_lag_seconds', Math.max(0, this.secondsSince(health.sync.oldestDueAt)));
    for (const { platform, merchantAccount, openCircuits } of health.platforms) {
      for (const operation of openCircuits) this.set('platform_circuit_open', 1, { platform, merchant_account: merchantAccount, operation });
    }
    for (const { platform, count } of health.unmappedWords) this.gauges.platform_unmapped_words.inc({ platform }, Number(count));
    for (const { status, count } of health.inbox) this.set('notifications_stored', count, { status });
    for (const { platform, merchantAccount, last, failed } of health.reconciliations) {
      const labels = { platform, merchant_account: merchantAccount };
      if (last !== null) this.set('reconciliation_last_run_timestamp_seconds', last.endedAt.getTime() / 1_000, labels);
      if (last !== null) this.set('reconciliation_findings', last.findings, labels);
      this.set('reconciliation_failed_runs', failed, labels);
    }
  }

  private setOwn(): void {
    const { refused, quarantined } = this.sources.entranceHealth();
    this.set('notifications_refused', refused);
    this.set('notifications_quarantined', quarantined);
    const { head, epoch, lagMs, openWatches, carrier, eventsRead } = this.sources.feedHealth();
    this.set('feed_head_revision', head);
    this.set('feed_epoch', epoch);
    this.set('feed_lag_seconds', lagMs / 1_000);
    this.set('feed_watchers', openWatches);
    this.set('feed_transport_up', (carrier?.isLive ?? true) ? 1 : 0);
    this.set('feed_transport_refused', carrier?.refused ?? 0);
    this.set('feed_events_brought', carrier?.brought ?? 0n);
    this.set('feed_events_read', eventsRead);
  }

  private set(name: GaugeName, value: number | bigint, labels: Record<string, string> = {}): void {
    this.gauges[name].set(labels, Number(value));
  }

  private secondsSince(at: Date | null): number {
    return at === null ? 0 : (this.sources.now().getTime() - at.getTime()) / 1_000;
  }
}

const PAYMENTS = { open: 'payments_unsettled', stuck: 'payments_stuck', age: 'payments_stuck_age_seconds' } as const;
const REFUNDS = { open: 'refunds_open', stuck: 'refunds_stuck', age: 'refunds_stuck_age_seconds' } as const;
