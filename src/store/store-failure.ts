import { DomainError } from '../payment/errors.js';

/** What a failed database statement means for the work that sent it. */
export type StoreFailure =
  /** Deadlock or serialisation: the same work may succeed now. */
  | 'CONFLICT'
  /** The connection is gone, or the server takes no work: it refuses connections, is a standby, is full, or took too long. */
  | 'UNAVAILABLE'
  /** A row is held by somebody for longer than may be waited. */
  | 'LOCKED'
  /** A unique key is taken: another process was faster; the work must look again. */
  | 'UNIQUE_VIOLATION'
  /** Anything else that the statement itself caused: constraint, data. */
  | 'STATEMENT';

const CAUSES_MAX = 10;
const CONFLICTS = new Set(['40P01', '40001']);
const LOST = new Set([
  '57P01', '57P02', '57P03', '57P05', '25P03', '25P04',
  'ECONNRESET', 'ECONNREFUSED', 'EPIPE', 'ETIMEDOUT', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH',
  '53000', '53100', '53200', '53300', '53400', '25006', '57014',
]);
/** node-postgres gives these no code. */
const LOST_SENTENCES = /connection terminated|timeout exceeded when trying to connect|not queryable|client has encountered a connection error|connection error|server closed the connection|driver has already been destroyed/i;

export function storeFailure(error: unknown): StoreFailure {
  const code = codeOf(error);
  if (CONFLICTS.has(code)) return 'CONFLICT';
  if (code === '23505') return 'UNIQUE_VIOLATION';
  if (code === '55P03') return 'LOCKED';
  if (LOST.has(code) || code.startsWith('08')) return 'UNAVAILABLE';
  if (code === '' && LOST_SENTENCES.test(sentences(error))) return 'UNAVAILABLE';
  return 'STATEMENT';
}

/** Whether the server itself has said this, and not the connection on the way to it. */
export const isServersWord = (error: unknown): boolean => causes(error).some(({ severity }) => typeof severity === 'string');

/** The SQLSTATE, or the code of the system's error; empty where there is none. */
export function codeOf(error: unknown): string {
  for (const { code } of causes(error)) if (typeof code === 'string') return code;
  return '';
}

/** What callers hear of any failure that is over once the database is itself again. */
export function storeUnavailable(cause: unknown): DomainError {
  return new DomainError('STORE_UNAVAILABLE', 'the database cannot be reached', { retryAfterMs: 1_000, cause });
}

function sentences(error: unknown): string {
  return causes(error)
    .map(({ message }) => (typeof message === 'string' ? message : ''))
    .join(' | ');
}

/** Not by `instanceof`: drivers and the runtime may make their errors in another realm. */
function causes(error: unknown): { code?: unknown; message?: unknown; severity?: unknown }[] {
  const found: { code?: unknown; message?: unknown; severity?: unknown }[] = [];
  for (let cause = error; typeof cause === 'object' && cause !== null && found.length < CAUSES_MAX; ) {
    found.push(cause);
    cause = 'cause' in cause ? cause.cause : null;
  }
  return found;
}
