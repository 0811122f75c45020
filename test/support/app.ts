import * as grpc from '@grpc/grpc-js';
import { promised, type Promised } from '../../src/cli/promised.js';
import { startApp, type App, type AppOptions } from '../../src/app.js';
import type { Config } from '../../src/config.js';
import { readAccounts, type Account } from '../../src/platform/accounts.js';
import { ErrorInfo, BadRequest } from '../../src/gen/google/rpc/error_details.js';
import { Status } from '../../src/gen/google/rpc/status.js';
import { OperationsServiceClient } from '../../src/gen/payment/v1/operations_service.js';
import { PaymentServiceClient } from '../../src/gen/payment/v1/payment_service.js';
import { createLogger } from '../../src/logger.js';
import { freshDatabase } from './database.js';

const CALL_MAX_MS = 15_000;
const ANY_PORT = { host: '127.0.0.1', port: 0 };

export function testConfig(databaseUrl: string): Config {
  return {
    production: false,
    databaseUrl,
    nats: null,
    dataDir: '/nonexistent',
    migrateAtStart: false,
    grpc: { ...ANY_PORT, reflection: true },
    notifications: { ...ANY_PORT, baseUrl: null },
    admin: ANY_PORT,
    simulator: null,
    platforms: [],
    trustedReporters: null,
    lateSuccessPolicies: {},
    feedRetentionDays: 30,
    tokenKey: 'page tokens of the tests',
    logLevel: 'silent',
  };
}

/** What PAYSTATE_PLATFORMS would make of this. */
export function accountsOf(platforms: object): readonly Account[] {
  const { accounts, faults } = readAccounts(platforms, () => '');
  if (faults.length > 0) throw new Error(faults.join('; '));
  return accounts;
}

export interface TestApp extends AsyncDisposable {
  readonly app: App;
  readonly address: string;
  readonly payments: Promised<PaymentServiceClient>;
  readonly operations: Promised<OperationsServiceClient>;
  /** The generated client itself, for streams. */
  readonly client: PaymentServiceClient;
}

/** The real server on a database of its own, or on a given one, with clients of it. */
export async function startTestApp(
  options: Partial<AppOptions> & { databaseUrl?: string; config?: Partial<Config> } = {},
): Promise<TestApp> {
  const { databaseUrl, config, ...appOptions } = options;
  const database = databaseUrl === undefined ? await freshDatabase() : null;
  const app = await startApp(
    { ...testConfig(databaseUrl ?? database!.url), ...config },
    { log: createLogger(process.env['PAYSTATE_TEST_LOG'] ?? 'silent'), ...appOptions },
  );
  const address = `127.0.0.1:${app.grpcPort}`;
  const client = new PaymentServiceClient(address, grpc.credentials.createInsecure());
  const operator = new OperationsServiceClient(address, grpc.credentials.createInsecure());
  return {
    app,
    address,
    client,
    payments: promised(client, callOptions),
    operations: promised(operator, callOptions),
    async [Symbol.asyncDispose]() {
      client.close();
      operator.close();
      await app.stop();
      await database?.[Symbol.asyncDispose]();
    },
  };
}

/** An error as a caller sees it, with its details decoded. */
export interface SeenError {
  readonly code: string;
  readonly message: string;
  readonly reason: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly fields: readonly string[];
}

/** Calls fail with what a caller sees. */
export const callOptions = {
  deadlineMs: CALL_MAX_MS,
  failure: (error: grpc.ServiceError): Error & SeenError => Object.assign(new Error(error.details), seen(error)),
};

export function seen(error: grpc.ServiceError): SeenError {
  const [bytes] = error.metadata.get('grpc-status-details-bin');
  const details = Buffer.isBuffer(bytes) ? Status.decode(bytes).details : [];
  const info = details.find(({ typeUrl }) => typeUrl.endsWith('ErrorInfo'));
  const bad = details.find(({ typeUrl }) => typeUrl.endsWith('BadRequest'));
  const { reason, metadata } = info === undefined ? { reason: '', metadata: {} } : ErrorInfo.decode(info.value);
  return {
    code: grpc.status[error.code],
    message: error.details,
    reason,
    metadata,
    fields: bad === undefined ? [] : BadRequest.decode(bad.value).fieldViolations.map(({ field }) => field),
  };
}
