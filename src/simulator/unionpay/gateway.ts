/** The platform's HTTP door: checks a call, executes it, and answers it as planned by the faults. */
import { setTimeout as wait } from 'node:timers/promises';
import { lagOf, type Fault, type FaultPlan } from '../faults.js';
import type { Holds } from '../holds.js';
import type { HttpReply, HttpRequest } from '../http.js';
import { replyWith } from './answers.js';
import type { Notifications } from './notifications.js';
import { answerTo, saying } from './objects.js';
import { FRONT_PATH, isServed, routeOf, type Done, type Operation, type Platform, type Route } from './operations.js';
import { htmlPage, refusalPage } from './pages.js';
import { malformed, Refusal } from './refusal.js';
import { checkDoor, readFields, type Door } from './request.js';
import type { Signer } from './signer.js';
import type { Fields } from './wire.js';

export interface Gateway {
  readonly platform: Platform;
  readonly door: Door;
  readonly signer: Signer;
  readonly faults: FaultPlan;
  readonly holds: Holds;
  readonly notifications: Notifications;
  /** Aborted when the simulator stops. */
  readonly stopping: AbortSignal;
  onCall(event: GatewayEvent): void;
}

/** One call as it was received and answered. */
export interface GatewayEvent {
  readonly at: Date;
  /** Null for a transaction that is not served at this place. */
  readonly operation: Operation | null;
  readonly path: string;
  readonly body: string;
  /** What was decided, whether or not the fault let the caller know; null when nothing was executed. */
  readonly code: string | null;
  readonly fault: Fault['kind'] | null;
}

/** A request as far as it could be read. */
interface Received {
  readonly request: HttpRequest;
  /** Null for what is no form. */
  readonly fields: Fields | null;
  readonly route: Route | null;
}

export async function answerGateway(gateway: Gateway, request: HttpRequest): Promise<HttpReply> {
  if (!isServed(request)) return htmlPage(404, '404 Not Found');
  const received = readRequest(request);
  const operation = received.route?.operation ?? null;
  const fault = gateway.faults.strike(operation ?? '');
  if (fault?.kind === 'delay' && fault.committed === false) await pause(gateway, fault);

  const prevented = preventionBy(fault);
  const isEarly = gateway.notifications.isNextEarly();
  const { value: done, outgoing } = gateway.notifications.collect(() => {
    if (prevented === 'transport') return null;
    const executed = prevented === null ? execute(gateway, received, fault) : refused(received, prevented);
    if (isEarly) executed.afterReply?.();
    return executed;
  });
  gateway.onCall(eventOf(gateway, { received, done, fault }));
  if (done === null) return transportFault(fault) ?? { kind: 'drop' };

  const reply = replyTo(gateway, { received, done, fault });
  if (isEarly) await gateway.notifications.dispatch(outgoing);
  const sent = gateway.notifications.busy();
  if (fault?.kind === 'delay' && fault.committed !== false) await pause(gateway, fault);
  if (fault?.kind === 'hold') await gateway.holds.keep(operation ?? '');

  const afterwards = (): void => {
    if (!isEarly) done.afterReply?.();
    sent();
  };
  return { ...reply, afterwards };
}

function readRequest(request: HttpRequest): Received {
  const fields = readFields(request);
  return { request, fields, route: routeOf(request, fields) };
}

/** The refusal that a fault puts in the place of an execution, `transport` for no answer at all, null for none. */
function preventionBy(fault: Fault | null): Refusal | 'transport' | null {
  if (fault === null) return null;
  if (fault.kind === 'drop-before-commit' || fault.kind === 'connection-reset') return 'transport';
  if (fault.kind === 'rate-limit') return new Refusal(fault.code ?? '37');
  if (fault.committed === true) return null;
  return fault.kind === 'http-500' || fault.kind === 'html-body' ? 'transport' : errorOf(fault);
}

function errorOf(fault: Fault | null): Refusal | null {
  if (fault?.kind === 'system-error') return new Refusal(fault.code ?? '03');
  return fault?.kind === 'error-response' || fault?.kind === 'unsigned-error-response' ? new Refusal(fault.code ?? '01') : null;
}

function execute({ door, platform }: Gateway, received: Received, fault: Fault | null): Done {
  const { fields, route } = received;
  try {
    if (fields === null) throw malformed('form');
    checkDoor(door, fields, route);
    if (route === null) throw new Error('a request without a route is refused at the door');
    return route.run(platform, { fields, withholdRefund: fault?.kind === 'refund-not-executed', lagMs: lagOf(fault) });
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return refused(received, error);
  }
}

/** In a browser a refusal is a page. */
function refused({ request, fields }: Pick<Received, 'request' | 'fields'>, refusal: Refusal): Done {
  const page = request.path === FRONT_PATH ? { page: refusalPage(refusal) } : {};
  return { fields: answerTo(fields, saying(refusal.code, refusal.message)), ...page };
}

interface Handled {
  readonly received: Received;
  readonly done: Done | null;
  readonly fault: Fault | null;
}

function replyTo({ signer }: Gateway, { received, done, fault }: Handled & { readonly done: Done }): HttpReply {
  const error = errorOf(fault);
  return transportFault(fault) ?? replyWith(error === null ? done : refused(received, error), signer, fault);
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

const eventOf = (gateway: Gateway, { received: { request, route }, done, fault }: Handled): GatewayEvent => ({
  at: new Date(gateway.door.now()),
  operation: route?.operation ?? null,
  path: request.path,
  body: request.body.toString('utf8'),
  code: done?.fields.get('respCode') ?? null,
  fault: fault?.kind ?? null,
});
