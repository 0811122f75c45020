/** What may go wrong with an operation of a simulated platform, planned by operation and ordinal. */
export type FaultKind =
  | 'drop-before-commit'
  | 'commit-then-drop'
  | 'http-500'
  | 'html-body'
  | 'truncated'
  | 'bad-signature'
  | 'no-signature'
  | 'unsigned-error'
  | 'rate-limit'
  | 'system-error';

export interface Fault {
  /** Method of the platform, such as `alipay.trade.refund`; `*` for any. */
  readonly operation: string;
  readonly kind: FaultKind;
  /** How many of the next calls it strikes; default 1. */
  readonly times?: number;
  /** How many calls it lets pass before; default 0. */
  readonly after?: number;
}

export class FaultPlan {
  private planned: { fault: Fault; skip: number; left: number }[] = [];

  add(fault: Fault): void {
    this.planned.push({ fault, skip: fault.after ?? 0, left: fault.times ?? 1 });
  }

  clear(): void {
    this.planned = [];
  }

  /** The fault that strikes this call, if any. */
  strike(operation: string): FaultKind | null {
    for (const plan of this.planned) {
      if (plan.fault.operation !== '*' && plan.fault.operation !== operation) continue;
      if (plan.left === 0) continue;
      if (plan.skip > 0) {
        plan.skip -= 1;
        continue;
      }
      plan.left -= 1;
      return plan.fault.kind;
    }
    return null;
  }
}
