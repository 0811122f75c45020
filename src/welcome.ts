import type { App } from './app.js';
import type { Config } from './config.js';
import { PLATFORMS } from './payment/platform.js';

/** One screen: what runs where, and what to paste. */
export function welcome(app: App, config: Config): string {
  const address = `${config.grpc.host}:${app.grpcPort}`;
  const lines = [
    '',
    '  paystate is ready.',
    '',
    `  gRPC           ${address}${config.grpc.reflection ? '   (reflection on)' : ''}`,
    `  notifications  http://${config.notifications.host}:${app.notificationPort}/notifications/<platform>/<account>`,
    `  metrics        http://${config.admin.host}:${app.adminPort}/metrics`,
    app.embedded ? `  PostgreSQL     embedded, data in ${config.dataDir}` : '  PostgreSQL     DATABASE_URL',
  ];
  if (app.simulators !== null) {
    const { addresses, controlUrl } = app.simulators;
    for (const [name, address] of Object.entries(addresses)) lines.push(`  ${name.padEnd(14)} simulated at ${address}`);
    lines.push(`  buyer          ${controlUrl}`);
  }
  if (config.grpc.reflection) lines.push('', '  Paste into another terminal:', '', ...commands(address, app.simulators?.controlUrl ?? null));
  return `${lines.join('\n')}\n\n`;
}

const CREATE = {
  request_id: 'first-payment',
  app_id: 'shop',
  order_id: 'order-1',
  platform: `PLATFORM_${PLATFORMS[0]}`,
  subject: 'A pot of tea',
  amount: { currency_code: 'CNY', minor_units: '8888' },
  initiated: { checkout_kind: 'CHECKOUT_KIND_QR_CODE' },
};

function commands(address: string, controlUrl: string | null): string[] {
  const create = JSON.stringify(CREATE);
  const buf = `npx buf curl --protocol grpc --http2-prior-knowledge`;
  const pay = controlUrl === null ? [] : ['', `  curl -s ${controlUrl}/${PLATFORMS[0].toLowerCase()}/buyer-pays -d '{"out_trade_no":"<merchant_order_no of the answer>"}'`];
  return [
    `  grpcurl -plaintext -d '${create}' ${address} payment.v1.PaymentService/CreatePayment`,
    '',
    `  ${buf} -d '${create}' http://${address}/payment.v1.PaymentService/CreatePayment`,
    ...pay,
    '',
    `  ${buf} -d '{"start_at":"WATCH_START_EARLIEST"}' http://${address}/payment.v1.PaymentService/WatchPayments`,
  ];
}
