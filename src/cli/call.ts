/** A raw call of any method, with the contract loaded from the proto files at run time. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { BadRequest, ErrorInfo } from '../gen/google/rpc/error_details.js';
import { Status } from '../gen/google/rpc/status.js';

const DEADLINE_MS = 30_000;

export async function callMethod(method: string, options: { data: string; address: string }): Promise<void> {
  const [serviceName, methodName] = method.split('/');
  const definition = loadContract()[serviceName ?? ''];
  if (definition === undefined || 'format' in definition || methodName === undefined || definition[methodName] === undefined) {
    throw new Error(`there is no method ${method}; try payment.v1.PaymentService/GetPayment`);
  }

  const { path, requestStream, responseStream, requestSerialize, responseDeserialize } = definition[methodName];
  if (requestStream) throw new Error(`${method} takes a stream`);
  const client = new grpc.Client(options.address, grpc.credentials.createInsecure());
  const request: unknown = JSON.parse(options.data);
  try {
    if (responseStream) {
      for await (const message of client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request as object)) print(message);
    } else {
      print(await unaryCall(client, { path, requestSerialize, responseDeserialize }, request as object));
    }
  } catch (error) {
    throw new Error(explain(error as grpc.ServiceError), { cause: error });
  } finally {
    client.close();
  }
}

/** Where the proto files are, seen from the compiled code and from the sources. */
export function protoDirectory(): string {
  const compiled = fileURLToPath(new URL('../../../proto', import.meta.url));
  return existsSync(compiled) ? compiled : fileURLToPath(new URL('../../proto', import.meta.url));
}

export function loadContract(): ReturnType<typeof loadSync> {
  const files = ['payment/v1/payment_service.proto', 'payment/v1/operations_service.proto'];
  // 64-bit numbers stay text: this loader would round them silently.
  return loadSync(files, { includeDirs: [protoDirectory()], keepCase: true, longs: String, enums: String, oneofs: true, bytes: String });
}

function unaryCall(
  client: grpc.Client,
  method: { path: string; requestSerialize: (value: object) => Buffer; responseDeserialize: (bytes: Buffer) => object },
  request: object,
): Promise<object> {
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      request,
      new grpc.Metadata(),
      { deadline: Date.now() + DEADLINE_MS },
      (error, response) => (error === null && response !== undefined ? resolve(response) : reject(error ?? new Error('no response'))),
    );
  });
}

const print = (message: unknown): void => void process.stdout.write(`${JSON.stringify(message, null, 2)}\n`);

/** A status with its decoded details, for a person. */
export function explain(error: grpc.ServiceError): string {
  const lines = [`${grpc.status[error.code]}: ${error.details}`];
  const [bytes] = error.metadata?.get('grpc-status-details-bin') ?? [];
  if (!Buffer.isBuffer(bytes)) return lines.join('\n');
  for (const detail of Status.decode(bytes).details) {
    if (detail.typeUrl.endsWith('ErrorInfo')) lines.push(`  reason ${ErrorInfo.decode(detail.value).reason}`);
    if (!detail.typeUrl.endsWith('BadRequest')) continue;
    for (const violation of BadRequest.decode(detail.value).fieldViolations) lines.push(`  ${violation.field}: ${violation.description}`);
  }
  return lines.join('\n');
}
