import { text, type HttpReply, type HttpRequest } from '../http.js';
import { transportFault, type Gateway } from './gateway.js';

/** The name of the download among the operations of faults: it has no method. */
export const BILL_FILE = 'bill-file';

/** The file of a bill, to whoever has the address. Of the faults only those of transport and a cut body exist here: nothing is signed. */
export function answerBillFile({ faults, platform }: Pick<Gateway, 'faults' | 'platform'>, { method, query }: HttpRequest): HttpReply {
  const fault = faults.strike(BILL_FILE);
  const transport = transportFault(fault);
  if (transport !== null) return transport;

  const bytes = method === 'GET' ? platform.bills.fetch(new URLSearchParams(query)) : null;
  if (bytes === null) return text(404, 'text/html;charset=utf-8', '<!DOCTYPE html><html><body>下载链接不存在或已失效</body></html>');
  const body = fault?.kind === 'truncated' ? bytes.subarray(0, bytes.length >> 1) : bytes;
  return { kind: 'answer', status: 200, contentType: 'application/octet-stream', body };
}
