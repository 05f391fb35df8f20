import { createHash } from "node:crypto";
import { OneTripTransaction } from "./one-trip.ts";

/** How often a connection sends a statement before it prepares it under a name. */
const USES_UNNAMED = 3;
/**
 * How long a name is used, in milliseconds. PostgreSQL keeps one plan per name. A plan for an empty
 * table would read the whole table when it has grown.
 */
const KEEP_NAME_MS = 60_000;
/** The maximum number of statements that are tracked per connection. */
const MAX_STATEMENTS = 200;

/** The part of the client of `pg` that is used here. */
export interface Client {
  query(statement: unknown, values?: unknown, callback?: unknown): unknown;
  /** Contains the statements that the connection has prepared. */
  readonly connection?: {
    readonly parsedStatements?: Record<string, unknown>;
    readonly submittedNamedStatements?: Record<string, unknown>;
  };
}

/**
 * Prepares repeated statements under names, so that PostgreSQL parses and plans them only once.
 * Parsing and planning take most of the time of a statement.
 *
 * A name contains a hash of its statement, so it has the same meaning on every connection. A
 * transaction pooler without support for names fails before the statement runs. Names are not used
 * afterwards.
 */
export class NamedStatements {
  #isOff = false;

  /** Makes a client prepare repeated statements. */
  watch(client: Client): void {
    const send = client.query.bind(client);
    const names = new Names();
    let isInTransaction = false;
    client.query = (statement, values, callback) => {
      if (statement instanceof OneTripTransaction) {
        const work = () => this.#trip(send, names, statement);
        return names.hasExpired ? deallocate(client, send, names.takeExpired()).then(work) : work();
      }
      if (typeof statement !== "string" || callback !== undefined) return send(statement, values, callback);
      if (/^begin\b/i.test(statement)) isInTransaction = !/\brollback$/i.test(statement);
      if (/^(commit|rollback)\b/i.test(statement)) isInTransaction = false;
      const isPlain = Array.isArray(values) && values.length > 0;
      if (this.#isOff || !isPlain) return send(statement, values);
      const name = names.of(statement);
      const work = () =>
        name === undefined
          ? send(statement, values)
          : this.#byName(send, names, { name, text: statement, values });
      // A failed DEALLOCATE inside a transaction would abort the transaction.
      if (isInTransaction || !names.hasExpired) return work();
      return deallocate(client, send, names.takeExpired()).then(work);
    };
  }

  async #trip(send: Client["query"], names: Names, trip: OneTripTransaction): Promise<unknown> {
    if (!this.#isOff) trip.setNames((text) => names.of(text));
    try {
      return await send(trip);
    } catch (error) {
      // The connection may have prepared the statement that failed.
      names.renew(trip.failedText);
      if (isNamesFault(error) && !isOutOfDate(error)) this.#isOff = true;
      throw error;
    }
  }

  async #byName(
    send: Client["query"],
    names: Names,
    query: { readonly name: string; readonly text: string; readonly values: readonly unknown[] },
  ): Promise<unknown> {
    try {
      return await send(query);
    } catch (error) {
      if (!isNamesFault(error)) throw error;
      if (isOutOfDate(error)) names.renew(query.text);
      else this.#isOff = true;
      try {
        return await send(query.text, query.values);
      } catch (second) {
        // The first error has aborted the transaction. The storage retries the transaction.
        throw codeOf(second) === "25P02" ? error : second;
      }
    }
  }
}

/** Releases names on the server. Failures are ignored, because nothing depends on it. */
async function deallocate(client: Client, send: Client["query"], names: readonly string[]): Promise<void> {
  for (const name of names) {
    try {
      await send(`deallocate "${name}"`);
    } catch {
      // A pooler may have no statement of this name.
    }
    delete client.connection?.parsedStatements?.[name];
    delete client.connection?.submittedNamedStatements?.[name];
  }
}

/**
 * Returns whether a statement failed only because of its name. Nothing was done in this case.
 *
 * The server does not have the name or already has it (invalid_sql_statement_name,
 * duplicate_prepared_statement), or the columns of a table have changed.
 */
export function isNamesFault(error: unknown): boolean {
  return ["26000", "42P05"].includes(codeOf(error)) || isOutOfDate(error);
}

function isOutOfDate(error: unknown): boolean {
  return codeOf(error) === "0A000" && /cached plan/.test((error as Error).message);
}

function codeOf(error: unknown): string {
  return String((error as { code?: unknown } | null)?.code);
}

interface TrackedStatement {
  uses: number;
  name: string | undefined;
  namedAt: number;
}

/** The names of the statements of one connection. */
class Names {
  readonly #known = new Map<string, TrackedStatement>();
  #expired: string[] = [];

  /** Returns the name of a statement, or undefined if it has not been repeated often enough. */
  of(text: string): string | undefined {
    const statement = this.#known.get(text) ?? { uses: 0, name: undefined, namedAt: 0 };
    // Moves the statement to the end, because the least recently used one is removed first.
    this.#known.delete(text);
    this.#known.set(text, statement);
    if (this.#known.size > MAX_STATEMENTS) this.#forgetOldest();
    if (++statement.uses <= USES_UNNAMED) return undefined;
    const now = Date.now();
    if (statement.name !== undefined && Math.abs(now - statement.namedAt) < KEEP_NAME_MS)
      return statement.name;
    if (statement.name !== undefined) this.#expired.push(statement.name);
    const hash = createHash("sha256").update(text).digest("hex").slice(0, 32);
    statement.name = `sallyport_${hash}_${now.toString(36)}`;
    statement.namedAt = now;
    return statement.name;
  }

  /** Makes the next use of a statement choose a new name. */
  renew(text: string): void {
    const statement = this.#known.get(text);
    if (statement) statement.namedAt = 0;
  }

  get hasExpired(): boolean {
    return this.#expired.length > 0;
  }

  /** Returns and removes the names that are not used any more. */
  takeExpired(): readonly string[] {
    const expired = this.#expired;
    this.#expired = [];
    return expired;
  }

  #forgetOldest(): void {
    const [text, { name }] = this.#known.entries().next().value as [string, TrackedStatement];
    this.#known.delete(text);
    if (name !== undefined) this.#expired.push(name);
  }
}
