// A program of a user in a project of its own: makes a payment, follows it to its end, and has a fake.
import { createClient, isSettled, PaymentStatus, Platform, statusName } from '@paystate/client';
import { createFakeClient } from '@paystate/client/fake';
import { DescribeStatusMachineRequest } from '@paystate/client/payment/v1/operations_service';

const client = createClient({ address: process.argv[2], caller: 'user' });
const { payment } = await client.payments.createPayment({
  appId: 'shop',
  orderId: 'order-1',
  platform: Platform.PLATFORM_WECHATPAY,
  merchantAccount: 'shop-account',
  amount: { currencyCode: 'CNY', minorUnits: 9_007_199_254_740_993n / 10n },
  kind: { $case: 'registered', value: { merchantOrderNo: 'order-1' } },
});
const { paymentId } = payment;

const seen = [];
for await (const item of client.watch({ from: 'EARLIEST', filter: { paymentIds: [paymentId] }, stopWhenSettled: true })) {
  if (item.kind !== 'events') continue;
  seen.push(...item.events.map(({ status }) => statusName(status)));
  if (item.events.some(({ status }) => isSettled(status))) continue;
  const paid = { status: PaymentStatus.PAYMENT_STATUS_SUCCEEDED, amount: payment.amount, platformTransactionId: 'tx-1' };
  await client.payments.updatePaymentStatus({ paymentId, ...paid, reporter: 'user', reason: 'paid' });
}
const settled = await client.waitFor(paymentId);
const { statuses } = await client.operations.describeStatusMachine(DescribeStatusMachineRequest.fromPartial({}));
client.close();

const fake = createFakeClient();
await fake.payments.createPayment({ ...payment, kind: { $case: 'registered', value: {} } }).catch(({ name }) => seen.push(name));
console.log(JSON.stringify({ seen, paid: `${settled.paidAmount.minorUnits}`, statuses: statuses.length }));
