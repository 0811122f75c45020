/** The three platforms as a fuzz sees them. */
import { Platform } from '../../src/gen/payment/v1/payment.js';
import type { PlatformName } from '../../src/payment/platform.js';
import type { Delivery } from '../../src/simulator/notifier.js';
import type { Simulators } from '../../src/simulator/simulators.js';
import { alipayMutators } from './alipay-mutators.js';
import { formMeaning, signedBodyMeaning, type Input } from './input.js';
import { plainMutators, type Mutator } from './mutators.js';
import { unionPayMutators } from './unionpay-mutators.js';
import { wechatPayMutators } from './wechatpay-mutators.js';

export const TARGETS = ['alipay', 'wechatpay', 'unionpay'] as const;
export type TargetName = (typeof TARGETS)[number];

/** What a simulator's control offers to all three alike. */
export interface Hand {
  notificationPlan(plan: { mode: never }): void;
  buyerPaysQr(text: string): unknown;
  refundOutside(orderNo: string, amount: bigint): unknown;
  notifications(): readonly Delivery[];
  idle(): Promise<void>;
}

export interface Target {
  /** Of the simulator, its account and the entrance. */
  readonly name: TargetName;
  readonly platform: PlatformName;
  readonly rpcPlatform: Platform;
  readonly hand: Hand;
  readonly mutators: readonly Mutator[];
  /** Modes of the simulator that prove nothing. */
  readonly forgeries: readonly string[];
  /** Equal for inputs that are the same notification to whoever reads it by the platform's document; null for none at all. */
  meaningOf(input: Input): string | null;
}

export function targetOf(name: TargetName, simulators: Simulators): Target {
  switch (name) {
    case 'alipay':
      return {
        name,
        platform: 'ALIPAY',
        rpcPlatform: Platform.PLATFORM_ALIPAY,
        hand: simulators.alipay.control,
        mutators: [...plainMutators, ...alipayMutators(simulators.alipay)],
        forgeries: ['forged', 'altered-amount', 'truncated', 'other-app'],
        meaningOf: formMeaning,
      };
    case 'wechatpay':
      return {
        name,
        platform: 'WECHATPAY',
        rpcPlatform: Platform.PLATFORM_WECHATPAY,
        hand: simulators.wechatpay.control,
        mutators: [...plainMutators, ...wechatPayMutators(simulators.wechatpay)],
        forgeries: ['forged', 'no-signature', 'stale-timestamp', 'wrong-serial', 'truncated', 'tampered-ciphertext', 'tampered-tag', 'wrong-key', 'other-merchant'],
        meaningOf: signedBodyMeaning,
      };
    case 'unionpay':
      // Genuine values may hold what separates fields.
      simulators.unionpay.control.setReqReserved('{a=1&b=2}');
      return {
        name,
        platform: 'UNIONPAY',
        rpcPlatform: Platform.PLATFORM_UNIONPAY,
        hand: simulators.unionpay.control,
        mutators: [...plainMutators, ...unionPayMutators(simulators.unionpay)],
        forgeries: ['forged', 'truncated', 'foreign-chain', 'wrong-common-name', 'short-common-name', 'expired-certificate', 'swapped-certificate', 'sign-method-11', 'no-certificate', 'bad-signature', 'no-signature', 'other-merchant'],
        meaningOf: formMeaning,
      };
  }
}
