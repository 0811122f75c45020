/** What a person should hear of: words without a mapping, calls refused for a fault of ours, refunds that were not taken in. */
import type { Logger } from '../logger.js';
import type { CallOutcome, PlatformAdapter, RefundReport } from '../payment/platform.js';

/** The same adapter, with one warning for each. What became of the payment is in its log. */
export function alarming(adapter: PlatformAdapter, log: Logger): PlatformAdapter {
  const { platform, merchantAccount: account } = adapter;
  const unmapped = (operation: string, word: string): void => log.warn({ platform, account, operation, word }, 'the platform used a word that has no mapping');

  const outcome = <T>(operation: string, heard: CallOutcome<T>): CallOutcome<T> => {
    if (heard.kind === 'MISCONFIGURED') {
      log.warn({ platform, account, operation, code: heard.code, said: heard.message }, 'the platform refused a call for a fault of ours');
    }
    if (heard.kind === 'UNKNOWN' && heard.unmapped === true) unmapped(operation, heard.code);
    return heard;
  };
  const report = (operation: string, heard: RefundReport): RefundReport => {
    if (heard.unmapped === true) unmapped(operation, heard.word);
    if (operation === 'refund' && heard.failure !== null && heard.status !== 'UNKNOWN') {
      log.warn({ platform, account, code: heard.failure.code, said: heard.failure.message, retry: heard.retry }, 'the platform did not take a refund');
    }
    return heard;
  };

  return {
    ...adapter,
    create: async (order, call) => outcome('create', await adapter.create(order, call)),
    query: async (order, call) => {
      const heard = outcome('query', await adapter.query(order, call));
      if (heard.kind === 'ACCEPTED' && heard.value.evidence.class === 'UNMAPPED') unmapped('query', heard.value.evidence.word);
      return heard;
    },
    close: async (order, call) => outcome('close', await adapter.close(order, call)),
    refund: async (refund, call) => report('refund', await adapter.refund(refund, call)),
    queryRefund: async (refund, call) => report('queryRefund', await adapter.queryRefund(refund, call)),
    downloadBill: async (day, call) => outcome('downloadBill', await adapter.downloadBill(day, call)),
    readNotification: (delivery) => {
      const reading = adapter.readNotification(delivery);
      if (reading.verified && reading.evidence?.class === 'UNMAPPED') unmapped('notification', reading.evidence.word);
      if (reading.verified && reading.refund?.report?.unmapped === true) unmapped('notification', reading.refund.report.word);
      return reading;
    },
  };
}
