import { invalidArgument, invalidParameter, missing } from './refusal.js';

/** `biz_content`. Amounts and numbers must be texts: a JSON number has been through a float somewhere. */
export class Content {
  private constructor(private readonly members: Readonly<Record<string, unknown>>) {}

  static parse(text: string): Content {
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch {
      value = null;
    }
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw invalidArgument('isv.invalid-parameter', '参数有误：biz_content不是合法的JSON');
    }
    return new Content(value as Record<string, unknown>);
  }

  required(name: string): string {
    const value = this.optional(name);
    if (value === null) throw missing(name);
    return value;
  }

  /** Null where absent or empty. */
  optional(name: string): string | null {
    const value = Object.hasOwn(this.members, name) ? this.members[name] : undefined;
    if (value === undefined || value === null || value === '') return null;
    if (typeof value !== 'string') throw invalidParameter(name);
    return value;
  }

  texts(name: string): readonly string[] {
    const value = Object.hasOwn(this.members, name) ? this.members[name] : undefined;
    if (value === undefined) return [];
    if (!Array.isArray(value) || !value.every((item) => typeof item === 'string')) throw invalidParameter(name);
    return value;
  }

  /** The same content in the same text, whatever the order of its members. */
  canonical(): string {
    return JSON.stringify(sorted(this.members));
  }
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, inner]) => [name, sorted(inner)]),
  );
}
