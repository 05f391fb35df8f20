import { ConfigurationError } from "../../errors.ts";

/** A column of a table of Django. */
export interface Column {
  readonly name: string;
  /** The declared type in lower case, such as `char(32)` or `uuid`. */
  readonly type: string;
  readonly isPrimaryKey: boolean;
}

/** A row with values as text. A value is null if it is NULL, or bytes that are not text. */
export type TextRow = Readonly<Record<string, string | null>>;

/** A page of rows, which are read in the order of a key. */
export interface PageQuery {
  /** An SQL expression for each value, by name. Identifiers in it are quoted. */
  readonly values: Readonly<Record<string, string>>;
  /** SQL that follows FROM. The table that is read has the alias `t`. */
  readonly from: string;
  /** The primary key of the table that is read. */
  readonly key: string;
  /** The key of the last row of the previous page, or undefined for the first page. */
  readonly after: string | undefined;
  readonly limit: number;
}

/** A row of a page, with its key. */
export interface PageRow {
  readonly key: string;
  readonly values: TextRow;
}

/** A database of Django that is open for reading only. */
export interface DjangoDatabase {
  /** The database in messages, without a password. */
  readonly name: string;
  /** Returns the columns of a table, or an empty list if it does not exist. */
  columns(table: string): Promise<readonly Column[]>;
  /** Returns the names of the tables that have the given column. */
  tablesWith(column: string): Promise<readonly string[]>;
  /** Returns at most `limit` rows with greater keys. Long texts are cut after 1 001 characters. */
  page(query: PageQuery): Promise<readonly PageRow[]>;
  /** Returns the number of rows of a table. */
  count(table: string): Promise<number>;
  /** Returns at most `limit` texts that several rows of a table have in a column. */
  duplicates(table: string, column: string, limit: number): Promise<readonly string[]>;
  close(): Promise<void>;
}

/** The maximum length of a text that is read, in characters. It is greater than every valid length. */
export const MAX_TEXT = 1001;

/** Returns a quoted SQL identifier. */
export function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** Returns the error for a database that cannot be read. */
export function cannotRead(name: string, cause: unknown, advice: string): ConfigurationError {
  const { code, message } = cause as { readonly code?: unknown; readonly message?: unknown };
  const reason = String(message || code).replace(/\.$/, "");
  const label = typeof code === "string" && !reason.includes(code) ? ` (${code})` : "";
  return new ConfigurationError(`Cannot read the Django database ${name}${label}: ${reason}. ${advice}`, {
    cause,
  });
}
