/** The ways in which a test has a notification told (wechatpay.md section 12). */
import type { ResourceVariant } from './notice.js';
import type { SignatureFlaw } from './signer.js';

export const NOTIFICATION_MODES = [
  'normal',
  /** Twice at once. */
  'duplicate',
  /** Recorded, not sent; `redeliver` can still send it. */
  'never',
  /** Of a refund that settles at once: delivered before the call that caused it is answered. */
  'before-reply',
  /** In pairs, the later one first. */
  'reorder',
  /** After it, every notification of the order again, with their old headers. */
  'replay',
  /** A probe first, which must be refused and is no delivery. */
  'probe',
  /** Wrong in the signature: another key, none, an old time, a key id that nobody knows, a body cut after signing. */
  'forged',
  'no-signature',
  'stale-timestamp',
  'wrong-serial',
  'truncated',
  /** Properly signed and sealed, and about another amount, application or merchant. */
  'altered-amount',
  'other-app',
  'other-merchant',
  /** Properly signed, and not to be unsealed. */
  'tampered-ciphertext',
  'tampered-tag',
  'wrong-key',
  /** Proper, with empty or absent `associated_data`. */
  'empty-aad',
  'absent-aad',
] as const;

export type NotificationMode = (typeof NOTIFICATION_MODES)[number];

export interface NotificationPlan {
  readonly mode: NotificationMode;
  /** How many notifications it holds for, normal ones follow; default all. */
  readonly times?: number;
}

const SIGNATURE_FLAWS: Partial<Readonly<Record<NotificationMode, SignatureFlaw>>> = {
  forged: 'forged',
  'no-signature': 'absent',
  'stale-timestamp': 'stale',
  'wrong-serial': 'unknown-serial',
};

const RESOURCE_VARIANTS = [
  'altered-amount',
  'other-app',
  'other-merchant',
  'tampered-ciphertext',
  'tampered-tag',
  'wrong-key',
  'empty-aad',
  'absent-aad',
] as const satisfies (ResourceVariant & NotificationMode)[];

/** A wrong message comes once: it is no part of the platform's schedule. */
const REPEATED: readonly NotificationMode[] = ['normal', 'duplicate', 'before-reply', 'reorder', 'replay', 'probe', 'empty-aad', 'absent-aad'];

export const flawOf = (mode: NotificationMode): SignatureFlaw | null => SIGNATURE_FLAWS[mode] ?? null;

export const variantOf = (mode: NotificationMode): ResourceVariant | null => RESOURCE_VARIANTS.find((variant) => variant === mode) ?? null;

export const isRepeated = (mode: NotificationMode): boolean => REPEATED.includes(mode);
