/**
 * Rows of one entity as the database holds them, written many at a time: one part of a statement with real binds, however many rows there
 * are. Every value travels as text and is cast to its column's type, so that a row can also be compared with what it was.
 */
import type { EntityProperty, MikroORM } from '@mikro-orm/postgresql';
import type { Part } from './parts.js';

/** The values of one row, in the order of the columns. */
export type Row = readonly (string | null)[];

interface Column {
  readonly name: string;
  readonly type: string;
  readonly isKey: boolean;
  valueOf(entity: Readonly<Record<string, unknown>>): string | null;
}

export interface Change {
  readonly before: Row;
  readonly after: Row;
}

export const isChanged = ({ before, after }: Change): boolean => after.some((value, at) => value !== before[at]);

/** One row of a table, by what makes it unique. */
export interface WrittenRow {
  readonly table: string;
  readonly columns: readonly { readonly name: string; readonly type: string; readonly value: string | null }[];
}

export class Rows {
  private readonly table: string;
  private readonly columns: readonly Column[];

  constructor(orm: MikroORM, entityName: string) {
    const meta = orm.getMetadata().getByClassName(entityName);
    this.table = meta.tableName;
    this.columns = meta.props.filter(({ fieldNames, persist }) => persist !== false && fieldNames !== undefined).map((property) => columnOf(orm, property));
  }

  read(entity: object): Row {
    return this.columns.map((column) => column.valueOf(entity as Record<string, unknown>));
  }

  /** In their order, which is the order of what the table numbers itself. */
  insertion(rows: readonly Row[]): Part | null {
    if (rows.length === 0) return null;
    const { columns, table } = this;
    const names = columns.map(({ name }) => name).join(', ');
    const values = columns.map(({ name, type }) => `k.${name}::${type}`).join(', ');
    return part(rows, [...columns.keys()], (source) => `insert into ${table} (${names}) select ${values} from ${source} with ordinality as k (${names}, place) order by k.place`);
  }

  /** The row as one to ask for: its key, and its hash where it has one. */
  written(row: Row): WrittenRow {
    const { columns, table } = this;
    return { table, columns: columns.flatMap(({ name, type, isKey }, at) => (isKey || name === 'hash' ? [{ name, type, value: row[at] ?? null }] : [])) };
  }

  /** Writes the columns in which any of the rows differs from what it was; the rows must be locked. */
  update(changed: readonly Change[]): Part | null {
    if (changed.length === 0) return null;
    const differs = (at: number): boolean => changed.some(({ before, after }) => before[at] !== after[at]);
    const { columns, table } = this;
    const used = [...columns.keys()].filter((at) => columns[at]!.isKey || differs(at));
    const chosen = used.map((at) => columns[at]!);
    const set = chosen.filter(({ isKey }) => !isKey).map(({ name, type }) => `${name} = k.${name}::${type}`);
    const same = chosen.filter(({ isKey }) => isKey).map(({ name, type }) => `t.${name} = k.${name}::${type}`);
    const names = chosen.map(({ name }) => name).join(', ');
    return part(changed.map(({ after }) => after), used, (source) => `update ${table} t set ${set.join(', ')} from ${source} as k (${names}) where ${same.join(' and ')}`);
  }
}

/** A list of values for each column, as one source of rows. */
function part(rows: readonly Row[], used: readonly number[], text: (source: string) => string): Part {
  return {
    values: used.map((at) => rows.map((row) => row[at] ?? null)),
    text: (from) => text(`unnest(${used.map((_column, at) => `$${from + at}::text[]`).join(', ')})`),
  };
}

function columnOf(orm: MikroORM, property: EntityProperty): Column {
  const { name, fieldNames, columnTypes, customType, primary } = property;
  const platform = orm.em.getPlatform();
  return {
    name: fieldNames[0]!,
    type: columnTypes[0]!,
    isKey: primary === true,
    valueOf: (entity) => {
      const value = entity[name];
      if (value === null || value === undefined) return null;
      return textOf(customType === undefined ? value : customType.convertToDatabaseValue(value, platform));
    },
  };
}

function textOf(value: unknown): string {
  if (typeof value === 'string') return value;
  if (value instanceof Date) return value.toISOString();
  if (Buffer.isBuffer(value) || value instanceof Uint8Array) return `\\x${Buffer.from(value).toString('hex')}`;
  if (typeof value === 'bigint' || typeof value === 'number' || typeof value === 'boolean') return value.toString();
  return JSON.stringify(value);
}
