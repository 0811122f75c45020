/** What is to go wrong with the calls of a simulated platform, planned by operation and ordinal. */
export const FAULT_KINDS = [
  /** Executes, then answers after `delayMs`; with `committed: false` waits first. */
  'delay',
  /** Executes, then keeps the answer back until it is released. */
  'hold',
  /** Executes and answers in small pieces, `delayMs` apart. */
  'slow-trickle',
  /** Ends the connection without executing. */
  'drop-before-commit',
  /** Executes, then ends the connection: the caller cannot know. */
  'commit-then-drop',
  /** Resets the connection (TCP RST) without executing. */
  'connection-reset',
  /** HTTP 500 and an HTML page; executes only with `committed: true`, as do the next four. */
  'http-500',
  'html-body',
  'system-error',
  'error-response',
  'unsigned-error-response',
  /** Executes, then cuts, falsifies or leaves out what proves the answer. */
  'truncated',
  'bad-signature',
  'no-signature',
  'sign-first',
  /** Executes; a second, unsigned node of the same name follows the signed one. */
  'smuggled-node',
  /** Refuses at the door. */
  'rate-limit',
  /** Executes; the answer names a key that nobody knows, an old time, or a header twice. */
  'wrong-serial',
  'stale-timestamp',
  'duplicate-header',
  /** Executes; in the place of the signature stands a probe that must not verify. */
  'signature-probe',
  /** A refund is accepted but not carried out: success, and no change of funds. */
  'refund-not-executed',
  /** A query is answered by a copy of the book that is `delayMs` behind: properly signed, and true then. Other calls are not touched. */
  'stale-answer',
] as const;

export type FaultKind = (typeof FAULT_KINDS)[number];

export interface Fault {
  /** The operation's name, or `*` for any. */
  readonly operation: string;
  readonly kind: FaultKind;
  /** The first call to strike, counted from 1 at the moment of planning; default 1. */
  readonly ordinal?: number;
  /** How many calls in a row it strikes; default 1. */
  readonly times?: number;
  readonly delayMs?: number;
  readonly committed?: boolean;
  /** Of the error answers, where the platform's usual one will not do. */
  readonly code?: string;
  readonly subCode?: string;
}

export class FaultPlan {
  private planned: { readonly fault: Fault; seen: number }[] = [];

  add(fault: Fault): void {
    this.planned.push({ fault, seen: 0 });
  }

  clear(): void {
    this.planned = [];
  }

  /** The fault that strikes this call. Every plan counts every call, struck by another one or not. */
  strike(operation: string): Fault | null {
    let struck: Fault | null = null;
    for (const plan of this.planned) {
      if (plan.fault.operation !== '*' && plan.fault.operation !== operation) continue;
      plan.seen += 1;
      if (struck === null && plan.seen >= first(plan.fault) && plan.seen < end(plan.fault)) struck = plan.fault;
    }
    this.planned = this.planned.filter(({ fault, seen }) => seen < end(fault) - 1);
    return struck;
  }
}

/** How far behind the book is that a query is answered from. */
export const lagOf = (fault: Fault | null): number => (fault?.kind === 'stale-answer' ? (fault.delayMs ?? 1_000) : 0);

const first = ({ ordinal }: Fault): number => ordinal ?? 1;
const end = (fault: Fault): number => first(fault) + (fault.times ?? 1);
