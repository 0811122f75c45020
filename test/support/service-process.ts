import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import * as grpc from '@grpc/grpc-js';
import { promised, type Promised } from '../../src/cli/promised.js';
import { OperationsServiceClient } from '../../src/gen/payment/v1/operations_service.js';
import { PaymentServiceClient } from '../../src/gen/payment/v1/payment_service.js';
import { callOptions } from './app.js';
import { until } from './until.js';

/** Compiled, whether this file is or not. */
const MAIN = new URL(import.meta.url.replace(/(\/dist)?\/test\/support\/.*$/, '/dist/src/main.js')).pathname;

export interface ServiceProcess {
  readonly child: ChildProcess;
  readonly payments: Promised<PaymentServiceClient>;
  readonly operations: Promised<OperationsServiceClient>;
  /** Where its entrance for notifications is. */
  readonly entrance: string;
  /** Ends it by a signal and waits until it is gone. */
  end(signal: NodeJS.Signals): Promise<void>;
}

/** The service in a process of its own, as `npm start` runs it, on free ports. */
export async function startServiceProcess(env: Readonly<Record<string, string>>): Promise<ServiceProcess> {
  const ports = { PAYSTATE_GRPC_PORT: '0', PAYSTATE_NOTIFICATION_PORT: '0', PAYSTATE_ADMIN_PORT: '0', PAYSTATE_SIMULATOR_PORT: '0' };
  const child = spawn(process.execPath, [MAIN], {
    env: { PATH: process.env['PATH'], PAYSTATE_LOG_LEVEL: 'silent', ...ports, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [printed, complaint] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (printed += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (complaint += chunk.toString()));
  await until(() => printed.includes('is ready') || child.exitCode !== null);
  const address = /gRPC\s+(127\.0\.0\.1:\d+)/.exec(printed)?.[1];
  if (address === undefined) throw new Error(`the service did not start: ${complaint}`);

  const client = new PaymentServiceClient(address, grpc.credentials.createInsecure());
  const operator = new OperationsServiceClient(address, grpc.credentials.createInsecure());
  return {
    child,
    payments: promised(client, callOptions),
    operations: promised(operator, callOptions),
    entrance: /notifications\s+(http:\/\/[\d.:]+)/.exec(printed)![1]!,
    async end(signal) {
      client.close();
      operator.close();
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill(signal);
      await once(child, 'exit');
    },
  };
}
