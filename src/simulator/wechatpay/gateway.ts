/** The platform's API: checks a call at the door, executes it, and answers it as planned by the faults. */
import { setTimeout as wait } from 'node:timers/promises';
import { lagOf, type Fault, type FaultPlan } from '../faults.js';
import type { Holds } from '../holds.js';
import type { HttpReply, HttpRequest } from '../http.js';
import { answerRefusal, htmlPage, replyWith, type Answer } from './answers.js';
import type { Notifications } from './notifications.js';
import { operate, operationOf, type Done, type Platform } from './operations.js';
import { rateLimited, Refusal, type Spelling } from './refusal.js';
import { checkDoor, targetOf, type Door } from './request.js';

export interface Gateway {
  readonly platform: Platform;
  readonly door: Door;
  readonly faults: FaultPlan;
  readonly holds: Holds;
  readonly notifications: Notifications;
  /** Aborted when the simulator stops. */
  readonly stopping: AbortSignal;
  readonly errors: ErrorStyle;
  onCall(event: GatewayEvent): void;
}

/** Of answers that refuse; may change while the simulator runs. */
export interface ErrorStyle {
  spelling: Spelling;
  isSigned: boolean;
}

/** One call as it was received and answered. */
export interface GatewayEvent {
  readonly at: Date;
  /** Null where nothing is served. */
  readonly operation: string | null;
  readonly httpMethod: string;
  /** Path and query as they were sent. */
  readonly target: string;
  readonly body: string;
  /** What was decided, whether or not the fault let the caller know; null when nothing was executed. */
  readonly status: number | null;
  /** Of an error. */
  readonly code: string | null;
  readonly fault: Fault['kind'] | null;
}

export async function answerGateway(gateway: Gateway, request: HttpRequest): Promise<HttpReply> {
  const operation = operationOf(request);
  const fault = gateway.faults.strike(operation ?? '');
  if (fault?.kind === 'delay' && fault.committed === false) await pause(gateway, fault);

  const prevented = preventionBy(fault);
  const isEarly = gateway.notifications.isNextEarly();
  const { value, outgoing } = gateway.notifications.collect(() => {
    if (prevented === 'transport') return null;
    const done = prevented === null ? execute(gateway, request, fault) : { answer: refused(gateway, prevented) };
    if (isEarly) done.afterReply?.();
    return done;
  });
  gateway.onCall(eventOf(gateway, { request, operation, answer: value?.answer ?? null, fault }));
  if (value === null) return transportFault(fault) ?? { kind: 'drop' };

  const reply = replyTo(gateway, value.answer, fault);
  if (isEarly) await gateway.notifications.dispatch(outgoing);
  const sent = gateway.notifications.busy();
  if (fault?.kind === 'delay' && fault.committed !== false) await pause(gateway, fault);
  if (fault?.kind === 'hold') await gateway.holds.keep(operation ?? '');

  const afterwards = (): void => {
    if (!isEarly) value.afterReply?.();
    sent();
  };
  return { ...reply, afterwards };
}

/** The refusal that a fault puts in the place of an execution, `transport` for no answer at all, null for none. */
function preventionBy(fault: Fault | null): Refusal | 'transport' | null {
  if (fault === null) return null;
  if (fault.kind === 'drop-before-commit' || fault.kind === 'connection-reset') return 'transport';
  if (fault.kind === 'rate-limit') return fault.code === undefined ? rateLimited('请求频率过高，请稍后再试') : new Refusal(fault.code, '请求频率过高，请稍后再试', { status: 429 });
  if (fault.committed === true) return null;
  return fault.kind === 'http-500' || fault.kind === 'html-body' ? 'transport' : errorOf(fault);
}

/** `subCode` is the HTTP status, where the usual one of the code will not do. */
function errorOf(fault: Fault | null): Refusal | null {
  const more = fault?.subCode === undefined ? {} : { status: Number(fault.subCode) };
  if (fault?.kind === 'system-error') return new Refusal(fault.code ?? 'SYSTEM_ERROR', '系统异常，请稍后重试', more);
  if (fault?.kind !== 'error-response' && fault?.kind !== 'unsigned-error-response') return null;
  return new Refusal(fault.code ?? 'TRADE_ERROR', '交易错误', more);
}

function execute(gateway: Gateway, request: HttpRequest, fault: Fault | null): Done {
  try {
    checkDoor(gateway.door, request);
    return operate(gateway.platform, request, { withholdRefund: fault?.kind === 'refund-not-executed', lagMs: lagOf(fault) });
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return { answer: refused(gateway, error) };
  }
}

const refused = ({ errors }: Gateway, refusal: Refusal): Answer => answerRefusal(refusal, errors);

function replyTo(gateway: Gateway, answer: Answer, fault: Fault | null): HttpReply {
  const transport = transportFault(fault);
  if (transport !== null) return transport;

  const error = errorOf(fault);
  const told = error === null ? answer : refused(gateway, error);
  const isUnsigned = fault?.kind === 'unsigned-error-response';
  return replyWith(isUnsigned ? { ...told, isSigned: false } : told, { signer: gateway.platform.signer, now: gateway.door.now() }, fault);
}

/** `code` is the HTTP status of an error page, such as 502. */
function transportFault(fault: Fault | null): HttpReply | null {
  if (fault?.kind === 'drop-before-commit' || fault?.kind === 'commit-then-drop') return { kind: 'drop' };
  if (fault?.kind === 'connection-reset') return { kind: 'reset' };
  if (fault?.kind === 'http-500') return htmlPage(Number(fault.code ?? 500), `${fault.code ?? 500} error`);
  return fault?.kind === 'html-body' ? htmlPage(200, '系统繁忙，请稍后再试') : null;
}

async function pause(gateway: Gateway, { delayMs = 1_000 }: Fault): Promise<void> {
  await wait(delayMs, undefined, { signal: gateway.stopping }).catch(() => undefined);
}

interface Handled {
  readonly request: HttpRequest;
  readonly operation: string | null;
  readonly answer: Answer | null;
  readonly fault: Fault | null;
}

const eventOf = (gateway: Gateway, { request, operation, answer, fault }: Handled): GatewayEvent => ({
  at: new Date(gateway.door.now()),
  operation,
  httpMethod: request.method,
  target: targetOf(request),
  body: request.body.toString('utf8'),
  status: answer?.status ?? null,
  code: answer?.code ?? null,
  fault: fault?.kind ?? null,
});
