import { pino, type Logger as PinoLogger } from 'pino';

export type Logger = PinoLogger;

/** JSON lines on stderr, so that stdout stays for what a person asked for. Money and sequence numbers are logged as text. */
export function createLogger(level: string): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }), log: (fields) => withoutBigints(fields) },
      redact: ['*.password', '*.privateKey', '*.appPrivateKey', '*.databaseUrl'],
    },
    pino.destination({ dest: 2, sync: true }),
  );
}

/** pino would write a bigint as a bare number, which readers round above 2^53. */
function withoutBigints(fields: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [name, typeof value === 'bigint' ? value.toString() : value]),
  );
}
