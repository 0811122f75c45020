/**
 * Which failures mean that a call may have been carried out and only its answer is lost, in a way that no service config can name.
 * All methods are idempotent, those that change something by their request_id, so such a call is simply sent again.
 */
import { status } from '@grpc/grpc-js';
import type { PaystateError } from './errors.js';

export function isAnswerLost({ code, reason, details }: PaystateError, { isAnswering }: { isAnswering: boolean }): boolean {
  // A reason is an answer.
  if (reason !== undefined) return false;
  switch (code) {
    // A server that is shut down by force; the caller's own cancelling never comes here.
    case status.CANCELLED:
      return true;
    case status.INTERNAL:
      return details.includes('RST_STREAM');
    // gRPC repeats this itself, unless the answer had begun to come.
    case status.UNAVAILABLE:
      return isAnswering;
    default:
      return false;
  }
}
