import { ControlError } from './control-error.js';
import { FAULT_KINDS, type Fault } from './faults.js';

/** The JSON body of a control request: what is wrong with it is said in a sentence. */
export class Arguments {
  private constructor(private readonly members: Readonly<Record<string, unknown>>) {}

  static parse(body: string): Arguments {
    try {
      const value: unknown = JSON.parse(body === '' ? '{}' : body);
      if (typeof value === 'object' && value !== null && !Array.isArray(value)) return new Arguments(value as Record<string, unknown>);
    } catch {
      // Told below, like every other body that is no object.
    }
    throw new ControlError('the body is not a JSON object');
  }

  has(name: string): boolean {
    return Object.hasOwn(this.members, name) && this.members[name] !== null;
  }

  text(name: string): string {
    const value = this.has(name) ? this.members[name] : undefined;
    if (typeof value !== 'string' || value === '') throw new ControlError(`${name} must be a text`);
    return value;
  }

  /** Fen, as digits in a text; null where absent. */
  amount(name: string): bigint | null {
    if (!this.has(name)) return null;
    const value = this.text(name);
    if (!/^\d{1,15}$/.test(value)) throw new ControlError(`${name} must be fen as digits, such as "8888"`);
    return BigInt(value);
  }

  count(name: string): number | undefined {
    if (!this.has(name)) return undefined;
    const value = this.members[name];
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) throw new ControlError(`${name} must be a whole number`);
    return value;
  }

  flag(name: string): boolean | undefined {
    if (!this.has(name)) return undefined;
    const value = this.members[name];
    if (typeof value !== 'boolean') throw new ControlError(`${name} must be true or false`);
    return value;
  }

  oneOf<T extends string>(name: string, allowed: readonly T[]): T {
    const value = this.text(name);
    const found = allowed.find((one) => one === value);
    if (found === undefined) throw new ControlError(`${name} must be one of ${allowed.join(', ')}`);
    return found;
  }

  fault(): Fault {
    return present({
      operation: this.text('operation'),
      kind: this.oneOf('kind', FAULT_KINDS),
      ordinal: this.count('ordinal'),
      times: this.count('times'),
      delayMs: this.count('delayMs'),
      committed: this.flag('committed'),
      code: this.has('code') ? this.text('code') : undefined,
      subCode: this.has('subCode') ? this.text('subCode') : undefined,
    });
  }

  /** Of notifications: how the next ones are told. */
  plan<Mode extends string>(modes: readonly Mode[]): { readonly mode: Mode; readonly times?: number } {
    const times = this.count('times');
    return { mode: this.oneOf('mode', modes), ...(times === undefined ? {} : { times }) };
  }
}

type Present<T> = { [K in keyof T as undefined extends T[K] ? never : K]: T[K] } & {
  [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>;
};

/** Without the members that are undefined. */
function present<T extends object>(value: T): Present<T> {
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined)) as Present<T>;
}
