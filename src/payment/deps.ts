import type { MikroORM } from '@mikro-orm/postgresql';
import type { Clock } from '../clock.js';
import type { UnitOfWork, View } from '../store/unit-of-work.js';
import type { Payment } from './payment.js';
import type { Act } from './payment-log.js';
import type { PlatformRegistry } from './platform-registry.js';

/** What the operations on payments and refunds work with. */
export interface Deps {
  readonly orm: MikroORM;
  readonly work: UnitOfWork;
  readonly clock: Clock;
  readonly platforms: PlatformRegistry;
  /** Whether this reporter's word moves registered payments of the app. */
  isTrustedReporter(appId: string, reporter: string): boolean;
  /** Applies the notifications that arrived before their payment was recorded. */
  applyWaiting(view: View, payment: Payment, act: Act): void;
  /** Something came due; the sync worker should look now. */
  wakeSync(): void;
}

/** The longest that a call to a platform may take; its outcome is recorded however long its caller waits. */
export const PLATFORM_CALL_MAX_MS = 15_000;
/** Kept back of a caller's time for writing down and answering what has been found out. */
export const ANSWERING_MS = 1_500;
