/** Requests as users write them: what is left out has its default, times may be Dates, and 64-bit numbers are bigints or refused. */

/** A message of the contract in which every field is optional. Amounts are bigint and nothing else. */
export type Input<T> = T extends bigint | string | number | boolean | Uint8Array | undefined
  ? T
  : T extends readonly (infer Item)[]
    ? readonly Input<Item>[]
    : T extends { readonly $case: infer Case; readonly value: infer Value }
      ? { readonly $case: Case; readonly value: Input<Value> }
      : T extends { readonly seconds: bigint; readonly nanos: number }
        ? Readonly<T> | Date
        : { readonly [Key in keyof T]?: Input<T[Key]> | undefined };

export interface MessageType<T> {
  fromPartial(input: never): T;
}

/** The message that an input says. A TypeError names a field that does not exist or is a number where a bigint is due. */
export function messageOf<T>(type: MessageType<T>, input: Input<T>): T {
  const plain = withoutDates(input);
  try {
    const message = type.fromPartial(plain as never);
    requireSame(plain, message, '');
    return message;
  } catch (error) {
    // Fractions do not even convert.
    throw error instanceof TypeError ? error : new TypeError('64-bit numbers, such as amounts, are bigints: 1250n', { cause: error });
  }
}

/** The decoder turns numbers into bigints silently and drops what it does not know; here neither passes. */
function requireSame(input: unknown, message: unknown, path: string): void {
  if (input === undefined || input === null) return;
  if (message === undefined) throw new TypeError(`there is no field ${path}`);
  if (typeof message === 'bigint' && typeof input !== 'bigint') {
    throw new TypeError(`${path} must be a bigint, such as 1250n, not the ${typeof input} ${JSON.stringify(input)}`);
  }
  if (typeof input !== 'object' || input instanceof Uint8Array) return;
  for (const [key, value] of Object.entries(input)) {
    requireSame(value, (message as Record<string, unknown>)[key], path === '' ? key : `${path}.${key}`);
  }
}

function withoutDates(value: unknown): unknown {
  if (value instanceof Date) return toTimestamp(value);
  if (Array.isArray(value)) return value.map(withoutDates);
  if (value === null || typeof value !== 'object' || value instanceof Uint8Array) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, withoutDates(inner)]));
}

export function toTimestamp(date: Date): { seconds: bigint; nanos: number } {
  const ms = date.getTime();
  const seconds = Math.floor(ms / 1_000);
  return { seconds: BigInt(seconds), nanos: (ms - seconds * 1_000) * 1e6 };
}

/** A time of the contract in milliseconds; what is finer is dropped, so compare by version, never by time. */
export function toDate(timestamp: { seconds: bigint; nanos: number } | undefined): Date | undefined {
  return timestamp === undefined ? undefined : new Date(Number(timestamp.seconds) * 1_000 + Math.floor(timestamp.nanos / 1e6));
}

export function toDuration(ms: number): { seconds: bigint; nanos: number } {
  return { seconds: BigInt(Math.floor(ms / 1_000)), nanos: Math.round((ms % 1_000) * 1e6) };
}

export function durationMs(duration: { seconds: bigint; nanos: number } | undefined): number | undefined {
  return duration === undefined ? undefined : Number(duration.seconds) * 1_000 + duration.nanos / 1e6;
}
