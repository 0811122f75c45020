/** The unary methods of a generated service as functions that return promises; nothing is listed by hand. */
import { randomUUID } from 'node:crypto';
import { deadlineOf } from './deadlines.js';
import { messageOf, type Input, type MessageType } from './input.js';
import type { Transport, UnaryMethod } from './transport.js';

export interface CallOptions {
  /** Ends the waiting; the call rejects with the signal's reason. What was asked for may be carried out nevertheless. */
  readonly signal?: AbortSignal | undefined;
  readonly deadlineMs?: number | undefined;
}

/** Every unary method of a service definition; a request_id that is left out is filled in. */
export type UnaryApi<Service> = {
  readonly [Name in keyof Service as Service[Name] extends { requestStream: false; responseStream: false } ? Name : never]: Service[Name] extends {
    requestDeserialize: (bytes: Buffer) => infer Request;
    responseDeserialize: (bytes: Buffer) => infer Response;
  }
    ? (request: Input<Request>, options?: CallOptions) => Promise<Response>
    : never;
};

/** The module that has the messages of a service: the request of a method bears its name. */
export type Messages = Readonly<Record<string, unknown>>;

export function unaryApi<Service extends object>(service: Service, messages: Messages, via: { transport: Transport; deadlineMs: number }): UnaryApi<Service> {
  const methods = Object.entries(service as Readonly<Record<string, UnaryMethod>>).filter(([, method]) => isUnary(method));
  return Object.fromEntries(methods.map(([name, method]) => [name, unaryCall(name, method, requestTypeOf(method, messages), via)])) as UnaryApi<Service>;
}

function unaryCall(name: string, method: UnaryMethod, type: MessageType<object>, via: { transport: Transport; deadlineMs: number }) {
  return async (input: Input<object>, { signal, deadlineMs }: CallOptions = {}): Promise<unknown> => {
    const request: { requestId?: string } = messageOf(type, input);
    // A mutation is what can be repeated by its id; one that is made here is the same in every attempt.
    const isMutation = 'requestId' in request;
    if (request.requestId === '') request.requestId = randomUUID();
    const requestId = request.requestId ?? randomUUID();
    return await via.transport.unary(method, request as never, {
      deadlineMs: deadlineMs ?? deadlineOf(name, request, via.deadlineMs),
      requestId,
      isMutation,
      signal,
    });
  };
}

const isUnary = (method: { requestStream: boolean; responseStream: boolean }): boolean => !method.requestStream && !method.responseStream;

function requestTypeOf({ path }: UnaryMethod, messages: Messages): MessageType<object> {
  const type = messages[`${path.slice(path.lastIndexOf('/') + 1)}Request`];
  if (type === undefined) throw new Error(`${path} has no request of its name`);
  return type as MessageType<object>;
}
