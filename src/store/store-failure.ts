/** What a failed database statement means for the work that sent it. */
export type StoreFailure =
  /** Deadlock or serialisation: the same work may succeed now. */
  | 'CONFLICT'
  /** The connection is gone, or the server refuses new ones. */
  | 'CONNECTION_LOST'
  /** A unique key is taken: another process was faster; the work must look again. */
  | 'UNIQUE_VIOLATION'
  /** Anything else that the statement itself caused: constraint, data, time-out. */
  | 'STATEMENT';

const CAUSES_MAX = 10;
const CONFLICTS = new Set(['40P01', '40001']);
const LOST = new Set([
  '57P01', '57P02', '57P03', '57P05', '25P03', '25P04',
  'ECONNRESET', 'ECONNREFUSED', 'EPIPE', 'ETIMEDOUT', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', '53300',
]);
/** node-postgres gives these no code. */
const LOST_SENTENCES = /connection terminated|timeout exceeded when trying to connect|not queryable|client has encountered a connection error|connection error|server closed the connection|driver has already been destroyed/i;

export function storeFailure(error: unknown): StoreFailure {
  const code = codeOf(error);
  if (CONFLICTS.has(code)) return 'CONFLICT';
  if (code === '23505') return 'UNIQUE_VIOLATION';
  if (LOST.has(code) || code.startsWith('08')) return 'CONNECTION_LOST';
  if (code === '' && LOST_SENTENCES.test(sentences(error))) return 'CONNECTION_LOST';
  return 'STATEMENT';
}

function codeOf(error: unknown): string {
  for (const { code } of causes(error)) if (typeof code === 'string') return code;
  return '';
}

function sentences(error: unknown): string {
  return causes(error)
    .map(({ message }) => (typeof message === 'string' ? message : ''))
    .join(' | ');
}

/** Not by `instanceof`: drivers and the runtime may make their errors in another realm. */
function causes(error: unknown): { code?: unknown; message?: unknown }[] {
  const found: { code?: unknown; message?: unknown }[] = [];
  for (let cause = error; typeof cause === 'object' && cause !== null && found.length < CAUSES_MAX; ) {
    found.push(cause);
    cause = 'cause' in cause ? cause.cause : null;
  }
  return found;
}
