/** The ways in which a test has a notification told (unionpay.md section 11). */
import { SIGNATURE_FLAWS } from './signer.js';

export const NOTIFICATION_MODES = [
  'normal',
  /** Twice at once. */
  'duplicate',
  /** Recorded, not sent; `redeliver` can still send it. */
  'never',
  /** Of a refund or void that settles at once: delivered before the call that caused it is answered. */
  'before-reply',
  /** In pairs, the later one first. */
  'reorder',
  /** After it, every notification of the payment and its refunds again. */
  'replay',
  /** The body cut. */
  'truncated',
  /** Properly signed, and about another amount or merchant. */
  'altered-amount',
  'other-merchant',
  ...SIGNATURE_FLAWS,
] as const;

export type NotificationMode = (typeof NOTIFICATION_MODES)[number];

export interface NotificationPlan {
  readonly mode: NotificationMode;
  /** How many notifications it holds for, normal ones follow; default all. */
  readonly times?: number;
}

/** A wrong message comes once: it is no part of the platform's schedule. */
const REPEATED: readonly NotificationMode[] = ['normal', 'duplicate', 'before-reply', 'reorder', 'replay'];

export const isRepeated = (mode: NotificationMode): boolean => REPEATED.includes(mode);
