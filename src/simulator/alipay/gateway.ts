/** `/gateway.do`: checks a call at the door, executes it, and answers it as planned by the faults. */
import { randomBytes } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { lagOf, type Fault, type FaultPlan } from '../faults.js';
import type { Holds } from '../holds.js';
import type { HttpReply, HttpRequest } from '../http.js';
import { answer, htmlPage, nodeName, refused, type Node } from './answers.js';
import { Content } from './content.js';
import type { Notifications } from './notifications.js';
import { isOperation, operate, type Platform } from './operations.js';
import { cashierPage, isPageMethod, refusalPage } from './pages.js';
import { businessRefusal, invalidArgument, rateLimited, Refusal } from './refusal.js';
import { checkDoor, readFields, urlOf, type Door } from './request.js';
import type { Fields } from './signature.js';

export interface Gateway {
  readonly platform: Platform;
  readonly door: Door;
  readonly faults: FaultPlan;
  readonly holds: Holds;
  readonly notifications: Notifications;
  /** Aborted when the simulator stops. */
  readonly stopping: AbortSignal;
  signFirst(): boolean;
  onCall(event: GatewayEvent): void;
}

/** One call of the gateway as it was received and answered. */
export interface GatewayEvent {
  readonly at: Date;
  readonly httpMethod: string;
  readonly method: string;
  /** Null when the parameters could not be decoded. */
  readonly fields: Readonly<Record<string, string>> | null;
  /** What was decided, whether or not the fault let the caller know; null when nothing was executed. */
  readonly code: string | null;
  readonly subCode: string | null;
  readonly fault: Fault['kind'] | null;
}

/** `name` is the answer's node, or null for a page. */
type Executed = { readonly name: string; readonly node: Node; readonly page: HttpReply | null };

export async function answerGateway(gateway: Gateway, request: HttpRequest): Promise<HttpReply> {
  const fields = readFields(request);
  const method = fields?.get('method') ?? '';
  const fault = gateway.faults.strike(method);
  if (fault?.kind === 'delay' && fault.committed === false) await pause(gateway, fault);

  const prevented = preventionBy(fault, method);
  const { value, outgoing } = gateway.notifications.collect(() =>
    prevented === 'transport' ? null : prevented === null ? execute(gateway, request, fields, fault) : refusedAs(prevented, method),
  );
  gateway.onCall(eventOf(gateway, request, fields, value, fault));
  if (value === null) return transportFault(fault) ?? { kind: 'drop' };

  const reply = replyTo(gateway, value, method, fault);
  const early = gateway.notifications.dispatchesEarly(outgoing);
  if (early) await gateway.notifications.dispatch(outgoing);
  const sent = gateway.notifications.busy();
  if (fault?.kind === 'delay' && fault.committed !== false) await pause(gateway, fault);
  if (fault?.kind === 'hold') await gateway.holds.keep(method);

  const afterwards = (): void => {
    if (!early) void gateway.notifications.dispatch(outgoing);
    sent();
  };
  return { ...reply, afterwards };
}

/** The refusal that a fault puts in the place of an execution, `transport` for no answer at all, null for none. */
function preventionBy(fault: Fault | null, method: string): Refusal | 'transport' | null {
  if (fault === null) return null;
  if (fault.kind === 'drop-before-commit' || fault.kind === 'connection-reset') return 'transport';
  if (fault.kind === 'rate-limit') return rateLimited('应用调用次数超限');
  if (fault.committed === true) return null;
  return fault.kind === 'http-500' || fault.kind === 'html-body' ? 'transport' : errorOf(fault, method);
}

function errorOf(fault: Fault | null, method: string): Refusal | null {
  if (fault?.kind === 'system-error') {
    return isOperation(method) ? businessRefusal(fault.subCode ?? 'ACQ.SYSTEM_ERROR', '系统错误') : new Refusal('20000', 'isp.unknow-error', '系统繁忙');
  }
  if (fault?.kind !== 'error-response' && fault?.kind !== 'unsigned-error-response') return null;
  return new Refusal(fault.code ?? '20000', fault.subCode ?? 'isp.unknow-error', '服务暂不可用');
}

function execute(gateway: Gateway, request: HttpRequest, fields: Fields | null, fault: Fault | null): Executed {
  const method = fields?.get('method') ?? '';
  const asPage = isPageMethod(method);
  try {
    if (fields === null) throw invalidArgument('isv.invalid-parameter', '参数无法解析');
    checkDoor(gateway.door, fields);
    if (request.method !== 'POST' && !asPage) throw invalidArgument('isv.invalid-parameter', '请使用POST');

    const content = Content.parse(fields.get('biz_content') ?? '');
    const call = { method, content, notifyUrl: urlOf(fields, 'notify_url'), returnUrl: urlOf(fields, 'return_url') };
    if (asPage) {
      const trade = gateway.platform.book.place(call);
      return { name: nodeName(method), node: { code: '10000' }, page: cashierPage(trade) };
    }
    const circumstances = { origin: `http://${request.headers.host ?? ''}`, withholdRefund: fault?.kind === 'refund-not-executed', lagMs: lagOf(fault) };
    return { name: nodeName(method), node: operate(gateway.platform, { ...call, ...circumstances }), page: null };
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return { ...refusedAs(error, method), page: asPage ? refusalPage(error) : null };
  }
}

/** What the gateway cannot attribute to an application and a method it answers as `error_response`. */
function refusedAs(refusal: Refusal, method: string): Executed {
  const unattributed = !isOperation(method) || ['isv.invalid-app-id', 'isv.missing-app-id'].includes(refusal.subCode);
  return { name: unattributed ? 'error_response' : nodeName(method), node: refused(refusal), page: null };
}

function replyTo(gateway: Gateway, { name, node, page }: Executed, method: string, fault: Fault | null): HttpReply {
  const transport = transportFault(fault);
  if (transport !== null) return transport;
  if (page !== null) return page;

  const error = errorOf(fault, method);
  const asErrorResponse = fault?.kind === 'error-response' || fault?.kind === 'unsigned-error-response';
  const { signingKeyPem: privateKeyPem, alipayCertSn } = gateway.platform.keyring;
  const answering = { privateKeyPem, alipayCertSn, signFirst: gateway.signFirst(), traceId: randomBytes(16).toString('hex') };
  return answer(answering, asErrorResponse ? 'error_response' : name, error === null ? node : refused(error), fault);
}

export function transportFault(fault: Fault | null): HttpReply | null {
  if (fault?.kind === 'drop-before-commit' || fault?.kind === 'commit-then-drop') return { kind: 'drop' };
  if (fault?.kind === 'connection-reset') return { kind: 'reset' };
  if (fault?.kind === 'http-500') return htmlPage(500, '500 Internal Server Error');
  return fault?.kind === 'html-body' ? htmlPage(200, '系统繁忙，请稍后再试') : null;
}

async function pause(gateway: Gateway, { delayMs = 1_000 }: Fault): Promise<void> {
  await wait(delayMs, undefined, { signal: gateway.stopping }).catch(() => undefined);
}

function eventOf(gateway: Gateway, request: HttpRequest, fields: Fields | null, value: Executed | null, fault: Fault | null): GatewayEvent {
  const said = (name: string): string | null => (typeof value?.node[name] === 'string' ? value.node[name] : null);
  return {
    at: new Date(gateway.platform.book.now()),
    httpMethod: request.method,
    method: fields?.get('method') ?? '',
    fields: fields === null ? null : Object.fromEntries(fields),
    code: said('code'),
    subCode: said('sub_code'),
    fault: fault?.kind ?? null,
  };
}
