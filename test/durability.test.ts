/** Nothing acknowledged is lost by kill -9, of the service or of PostgreSQL. */
import { readFileSync } from 'node:fs';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { GetPaymentRequest, type CreatePaymentRequest } from '../src/gen/payment/v1/payment_service.js';
import { logOf, refundOf, registered, reported, yuan } from './support/requests.js';
import { startServiceProcess, type ServiceProcess } from './support/service-process.js';
import { until } from './support/until.js';

const WRITERS = 8;

let dataDir: string;
beforeAll(async () => {
  dataDir = await mkdtemp(join(process.env['PAYSTATE_TEST_FOLDER']!, 'paystate-durability-'));
  // The database's user has to get in when this runs as root.
  await chmod(dataDir, 0o755);
});
afterAll(async () => {
  for (const service of started) await service.end('SIGTERM');
  await rm(dataDir, { recursive: true, force: true });
});

const started: ServiceProcess[] = [];

/** With its own PostgreSQL, fsync on. */
async function start(): Promise<ServiceProcess> {
  const service = await startServiceProcess({ PAYSTATE_DATA_DIR: dataDir });
  started.push(service);
  return service;
}

interface Acknowledged {
  readonly request: CreatePaymentRequest;
  readonly paymentId: string;
  refunded: boolean;
}

/** Writers that create, report and refund, until the service is gone; what was answered goes into the ledger. */
function write(service: ServiceProcess, ledger: Acknowledged[]): Promise<unknown> {
  const writer = async (): Promise<void> => {
    for (;;) {
      const request = registered();
      const { payment } = await service.payments.createPayment(request);
      const entry = { request, paymentId: payment!.paymentId, refunded: false };
      ledger.push(entry);
      await service.payments.updatePaymentStatus(reported(entry.paymentId));
      await service.payments.createRefund(refundOf(entry.paymentId, 2_500n));
      entry.refunded = true;
    }
  };
  return Promise.allSettled(Array.from({ length: WRITERS }, writer));
}

async function expectAll(service: ServiceProcess, ledger: readonly Acknowledged[]): Promise<void> {
  for (const { request, paymentId, refunded } of ledger) {
    const { payment } = await service.payments.getPayment(GetPaymentRequest.fromPartial({ ref: { ref: { $case: 'paymentId', value: paymentId } } }));
    if (refunded) expect(payment).toMatchObject({ paidAmount: yuan(10_000n), reservedAmount: yuan(2_500n) });
    expect(await service.payments.createPayment(request)).toMatchObject({ replayed: true, payment: { paymentId } });
  }
  const [last] = ledger.slice(-1);
  expect(await service.operations.verifyPaymentLog(logOf(last!.paymentId))).toMatchObject({ valid: true });
}

test('kill -9 of the service, then of PostgreSQL, under load: everything acknowledged is there', async () => {
  const ledger: Acknowledged[] = [];

  let service = await start();
  let writing = write(service, ledger);
  await until(() => ledger.filter(({ refunded }) => refunded).length >= 40);
  await service.end('SIGKILL');
  await writing;

  service = await start();
  await expectAll(service, ledger);
  const before = ledger.length;
  writing = write(service, ledger);
  await until(() => ledger.length >= before + 40);
  const postmaster = Number(readFileSync(join(dataDir, 'postgres', 'postmaster.pid'), 'utf8').split('\n')[0]);
  process.kill(postmaster, 'SIGKILL');
  await writing;
  // The service itself lives on and says what is wrong.
  await expect(service.payments.createPayment(registered())).rejects.toMatchObject({ code: 'UNAVAILABLE', reason: 'STORE_UNAVAILABLE' });
  await service.end('SIGTERM');

  service = await start();
  await expectAll(service, ledger);
  await service.end('SIGTERM');
  expect(service.child.exitCode).toBe(0);
}, 60_000);
