import * as grpc from '@grpc/grpc-js';
import { HealthImplementation } from 'grpc-health-check';
import { OperationsServiceService } from '../gen/payment/v1/operations_service.js';
import { PaymentServiceService } from '../gen/payment/v1/payment_service.js';
import type { Logger } from '../logger.js';
import { operationsHandlers, type OperationsDeps } from './operations-service.js';
import { paymentHandlers, type HandlerDeps } from './payment-service.js';
import { addReflection } from './reflection.js';
import { serverStream, tolerant, unary, type StreamHandler, type UnaryHandler } from './serve.js';
import { watchHandlers, type WatchDeps } from './watch.js';

export const SERVICES = ['payment.v1.PaymentService', 'payment.v1.OperationsService'] as const;
const STANDARD_SERVICES = ['grpc.health.v1.Health', 'grpc.reflection.v1.ServerReflection', 'grpc.reflection.v1alpha.ServerReflection'];

const OPTIONS: grpc.ServerOptions = {
  'grpc.max_receive_message_length': 1024 * 1024,
  'grpc.max_send_message_length': 4 * 1024 * 1024,
  'grpc.max_concurrent_streams': 1_000,
  'grpc.keepalive_time_ms': 30_000,
  'grpc.keepalive_timeout_ms': 10_000,
  'grpc.enable_channelz': 0,
};
/** Unary calls under way get this long at the end; the platforms' own limit is shorter. */
const DRAIN_MAX_MS = 20_000;

export interface RpcServer {
  readonly port: number;
  setServing(serving: boolean): void;
  isServing(): boolean;
  /** Lets calls under way finish; watches must have been ended before. */
  drain(): Promise<void>;
}

export async function startRpcServer(
  deps: HandlerDeps & OperationsDeps & WatchDeps,
  options: { host: string; port: number; reflection: boolean; log: Logger },
): Promise<RpcServer> {
  const { log } = options;
  const server = new grpc.Server(OPTIONS);
  const watches = watchHandlers(deps);

  addService(server, log, PaymentServiceService, { ...paymentHandlers(deps), ...watches.unary }, watches.streams);
  addService(server, log, OperationsServiceService, operationsHandlers(deps), {});
  const health = new HealthImplementation({ '': 'NOT_SERVING', liveness: 'SERVING' });
  health.addToServer(server);
  if (options.reflection) addReflection(server, [...SERVICES, ...STANDARD_SERVICES]);

  const port = await bind(server, `${options.host}:${options.port}`);
  let isServing = false;
  return {
    port,
    isServing: () => isServing,
    setServing(serving) {
      isServing = serving;
      for (const name of ['', ...SERVICES]) health.setStatus(name, serving ? 'SERVING' : 'NOT_SERVING');
    },
    async drain() {
      const forced = setTimeout(() => server.forceShutdown(), DRAIN_MAX_MS);
      await new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
      clearTimeout(forced);
    },
  };
}

/** Registers every method of a service through the one wrapper; a method without a handler is a bug that shows at start. */
function addService(
  server: grpc.Server,
  log: Logger,
  definition: grpc.ServiceDefinition,
  unaries: Record<string, UnaryHandler<never, unknown>>,
  streams: Record<string, StreamHandler<never, unknown>>,
): void {
  const implementation: grpc.UntypedServiceImplementation = {};
  for (const [name, method] of Object.entries(definition)) {
    const [unaryHandler, streamHandler] = [unaries[name], streams[name]];
    if (unaryHandler !== undefined) {
      implementation[name] = unary(log, method.path, unaryHandler, { longPoll: name === 'waitForPayment' }) as grpc.UntypedHandleCall;
    } else if (streamHandler !== undefined) {
      implementation[name] = serverStream(log, method.path, streamHandler) as grpc.UntypedHandleCall;
    } else {
      throw new Error(`${method.path} has no handler`);
    }
  }
  server.addService(tolerant(definition), implementation);
}

function bind(server: grpc.Server, address: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(address, grpc.ServerCredentials.createInsecure(), (error, port) => (error === null ? resolve(port) : reject(error)));
  });
}
