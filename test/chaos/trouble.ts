/** Everything that can go wrong, again and again: at the platforms, with their notifications, with the service and its database. */
import type { Fault, FaultKind } from '../../src/simulator/faults.js';
import type { Simulators } from '../../src/simulator/simulators.js';
import { Random } from '../notification/random.js';

/** What may strike any call. A platform that says "refused" and has done it would be a liar, and is not among them. */
const FAULTS: readonly FaultKind[] = [
  'delay', 'slow-trickle', 'drop-before-commit', 'commit-then-drop', 'connection-reset', 'http-500', 'html-body', 'system-error',
  'unsigned-error-response', 'truncated', 'bad-signature', 'no-signature', 'rate-limit',
];
const OWN_FAULTS = {
  alipay: [...FAULTS, 'sign-first', 'smuggled-node', 'refund-not-executed'],
  wechatpay: [...FAULTS, 'wrong-serial', 'stale-timestamp', 'duplicate-header', 'signature-probe'],
  unionpay: [...FAULTS, 'smuggled-node'],
} as const satisfies Record<string, readonly FaultKind[]>;

/** What may happen to a notification; one of another amount under a proper signature would be the platform's own contradiction. */
const MODES = {
  alipay: ['normal', 'duplicate', 'never', 'before-reply', 'reorder', 'replay', 'forged', 'altered-amount', 'truncated'],
  wechatpay: ['normal', 'duplicate', 'never', 'before-reply', 'reorder', 'replay', 'forged', 'no-signature', 'stale-timestamp', 'wrong-serial', 'truncated', 'tampered-tag', 'probe'],
  unionpay: ['normal', 'duplicate', 'never', 'before-reply', 'reorder', 'replay', 'forged', 'foreign-chain', 'sign-method-11', 'truncated', 'bad-signature'],
} as const;

const EVERY_MS = 40;
const NAMES = ['alipay', 'wechatpay', 'unionpay'] as const;

/** Plans faults until it is told to stop; then the platforms are well again. */
export function makeTrouble(simulators: Simulators, seed: number): { stop(): void; readonly planned: () => number } {
  const random = new Random(seed, 1_000_003);
  let planned = 0;
  const timer = setInterval(() => {
    const name = random.pick(NAMES);
    const { control } = simulators[name];
    const fault: Fault = { operation: '*', kind: random.pick(OWN_FAULTS[name]), times: random.between(1, 2), ordinal: random.between(1, 4), delayMs: random.between(1, 80) };
    control.faults.add(fault);
    control.notificationPlan({ mode: random.pick(MODES[name]) as never, times: random.between(1, 3) });
    planned += 1;
  }, EVERY_MS);
  return {
    planned: () => planned,
    stop() {
      clearInterval(timer);
      for (const name of NAMES) {
        simulators[name].control.faults.clear();
        simulators[name].control.notificationPlan({ mode: 'normal' });
      }
    },
  };
}
