import { invalidParameter } from './refusal.js';

type Members = Readonly<Record<string, unknown>>;

/** A JSON object of a request; what is wrong with a member is told by its JSON pointer. */
export class Body {
  private constructor(
    private readonly members: Members,
    private readonly pointer: string,
  ) {}

  static parse(bytes: Buffer): Body {
    let value: unknown;
    try {
      value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    } catch {
      value = null;
    }
    if (!isObject(value)) throw invalidParameter('', '请求体不是合法的JSON对象');
    return new Body(value, '');
  }

  has(name: string): boolean {
    return Object.hasOwn(this.members, name) && this.members[name] !== null;
  }

  /** Not empty; `lengthMax` counts characters. */
  text(name: string, lengthMax: number): string {
    const value = this.has(name) ? this.members[name] : undefined;
    if (value === undefined || value === '') throw this.invalid(name, '必填');
    if (typeof value !== 'string') throw this.invalid(name, '类型必须为字符串');
    if ([...value].length > lengthMax) throw this.invalid(name, `长度不能超过${lengthMax}`);
    return value;
  }

  optional(name: string, lengthMax: number): string | null {
    return this.has(name) && this.members[name] !== '' ? this.text(name, lengthMax) : null;
  }

  matching(name: string, pattern: RegExp, lengthMax: number): string {
    const value = this.text(name, lengthMax);
    if (!pattern.test(value)) throw this.invalid(name, '格式不正确');
    return value;
  }

  /** Fen, as a JSON integer: a text is refused. */
  amount(name: string): bigint {
    const value = this.has(name) ? this.members[name] : undefined;
    if (value === undefined) throw this.invalid(name, '必填');
    if (typeof value !== 'number' || !Number.isSafeInteger(value)) throw this.invalid(name, '类型必须为整数');
    if (value < 1 || value > AMOUNT_MAX_FEN) throw this.invalid(name, '超出取值范围');
    return BigInt(value);
  }

  inner(name: string): Body {
    const value = this.has(name) ? this.members[name] : undefined;
    if (!isObject(value)) throw this.invalid(name, value === undefined ? '必填' : '类型必须为对象');
    return new Body(value, `${this.pointer}/${name}`);
  }

  /** Absolute and, as the platform wants it, without a query. */
  notifyUrl(lengthMax: number): string {
    const value = this.text('notify_url', lengthMax);
    const isAbsolute = /^https?:\/\//i.test(value) && URL.canParse(value);
    if (!isAbsolute || /[?#]/.test(value)) throw this.invalid('notify_url', '必须为不带参数的完整URL');
    return value;
  }

  /** The platform knows one currency; without a word it is meant. */
  currency(): void {
    if ((this.optional('currency', 16) ?? 'CNY') !== 'CNY') throw this.invalid('currency', '仅支持CNY');
  }

  /** The same content in the same text, whatever the order of its members. */
  canonical(): string {
    return JSON.stringify(sorted(this.members));
  }

  invalid(name: string, issue: string) {
    return invalidParameter(`${this.pointer}/${name}`, issue);
  }
}

const AMOUNT_MAX_FEN = 10_000_000_000;

const isObject = (value: unknown): value is Members => typeof value === 'object' && value !== null && !Array.isArray(value);

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (!isObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, inner]) => [name, sorted(inner)]),
  );
}
