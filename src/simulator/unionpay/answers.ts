/** The platform's synchronous answers: pairs that are not url-encoded, with the certificate among them, or a page for a browser. */
import type { Fault } from '../faults.js';
import { text, type HttpReply } from '../http.js';
import type { Done } from './operations.js';
import { flawOf, type SignatureFlaw, type Signer } from './signer.js';
import { plainText, type Fields } from './wire.js';

/** Not documented, as the platform's servers have it for pages and pairs alike. */
const CONTENT_TYPE = 'text/html;charset=UTF-8';

export function replyWith({ fields, page }: Done, signer: Signer, fault: Fault | null): HttpReply {
  const reply = page ?? text(200, CONTENT_TYPE, plainText(signer.signed(fields, signatureFlawOf(fault))) + smuggled(fields, fault));
  if (reply.kind !== 'answer') return reply;
  return {
    ...reply,
    // Cut by bytes: half a Chinese character is part of the fault.
    body: fault?.kind === 'truncated' ? reply.body.subarray(0, reply.body.length >> 1) : reply.body,
    ...(fault?.kind === 'slow-trickle' ? { trickle: { pieceBytes: 64, gapMs: fault.delayMs ?? 1 } } : {}),
  };
}

/** `bad-signature` can name its flaw as `code`. */
function signatureFlawOf(fault: Fault | null): SignatureFlaw | null {
  if (fault?.kind === 'no-signature' || fault?.kind === 'unsigned-error-response') return 'no-signature';
  return fault?.kind === 'bad-signature' ? (flawOf(fault.code) ?? 'bad-signature') : null;
}

/** A second success, behind everything that is signed. */
function smuggled(fields: Fields, fault: Fault | null): string {
  if (fault?.kind !== 'smuggled-node') return '';
  return fields.has('origRespCode') ? '&origRespCode=00' : '&respCode=00';
}
