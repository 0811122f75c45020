import { WatchPaymentsRequest, WatchStart, type WatchPaymentsResponse } from '../../src/gen/payment/v1/payment_service.js';
import { FeedTransport } from '../../src/gen/payment/v1/operations_service.js';
import { freshDatabase } from '../support/database.js';
import { startTestApp } from '../support/app.js';
import { startNatsServer } from '../support/nats-server.js';
import { registered } from '../support/requests.js';
import { until } from '../support/until.js';

test('what one server records is watched on another by way of JetStream, and both say how they get it', async () => {
  await using nats = await startNatsServer();
  await using database = await freshDatabase();
  const config = { nats: { urls: [nats.url], replicas: 1 } };
  await using writer = await startTestApp({ databaseUrl: database.url, config });
  await using reader = await startTestApp({ databaseUrl: database.url, config });
  const transportOf = async ({ operations }: typeof writer) => (await operations.getSystemHealth({})).feed!.transport!;
  await until(async () => (await transportOf(writer)).live && (await transportOf(reader)).live);

  const watch = reader.client.watchPayments(WatchPaymentsRequest.fromPartial({ start: { $case: 'startAt', value: WatchStart.WATCH_START_NOW } }));
  watch.on('error', () => undefined);
  const heard: string[] = [];
  let isOpen = false;
  watch.on('data', ({ kind }: WatchPaymentsResponse) => {
    isOpen ||= kind?.$case === 'created';
    if (kind?.$case === 'events') heard.push(...kind.value.events.map(({ paymentId }) => paymentId));
  });
  await until(() => isOpen);
  const { payment } = await writer.payments.createPayment(registered({}));
  await until(() => heard.includes(payment!.paymentId));
  watch.cancel();

  await until(async () => (await transportOf(writer)).lastRevision === 1n);
  expect(await transportOf(reader)).toMatchObject({ transport: FeedTransport.FEED_TRANSPORT_NATS, live: true, fault: '' });
  await nats.kill();
  await until(async () => !(await transportOf(reader)).live);
  expect((await transportOf(reader)).fault).not.toBe('');
  const response = await fetch(`http://127.0.0.1:${reader.app.adminPort}/metrics`);
  expect(await response.text()).toMatch(/^feed_transport_up 0$/m);
});
