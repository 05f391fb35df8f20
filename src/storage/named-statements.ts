import { createHash } from "node:crypto";
import { OneTrip } from "./one-trip.ts";

/** Times that a connection sends a statement before it gives it a name. */
const USES_UNNAMED = 3;
/**
 * How long a name is used, in milliseconds. PostgreSQL keeps one plan for a name, and one that was made for a table still empty reads
 * all of it for each message when it is not.
 */
const KEEP_NAME_MS = 60_000;
/** Statements that a connection remembers. */
const MAX_STATEMENTS = 200;

/** As much of `pg`'s client as is needed. */
export interface Client {
  query(statement: unknown, values?: unknown, callback?: unknown): unknown;
  /** Where it remembers what it has prepared, for as long as it lives. */
  readonly connection?: {
    readonly parsedStatements?: Record<string, unknown>;
    readonly submittedNamedStatements?: Record<string, unknown>;
  };
}

/**
 * Names the statements that a pool's connections repeat, so that PostgreSQL parses and plans them once: that is most of what a
 * message's statement takes.
 *
 * A name is made of its statement, so it never stands for another one, whatever connection it arrives on. A pooler of
 * transactions that does not know names shows itself by an error before anything is done: from then on nothing is named.
 */
export class NamedStatements {
  #isOff = false;

  /** Has a connection name what it repeats. */
  watch(client: Client): void {
    const send = client.query.bind(client);
    const names = new Names();
    let isInTransaction = false;
    client.query = (statement, values, callback) => {
      if (statement instanceof OneTrip) {
        const work = () => this.#trip(send, names, statement);
        return names.hasOutlived ? deallocate(client, send, names.takeOutlived()).then(work) : work();
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
      // Inside a transaction its failure would undo what does depend on it.
      if (isInTransaction || !names.hasOutlived) return work();
      return deallocate(client, send, names.takeOutlived()).then(work);
    };
  }

  async #trip(send: Client["query"], names: Names, trip: OneTrip): Promise<unknown> {
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
        // Inside a transaction, which the first error has undone: the storage makes it again.
        throw codeOf(second) === "25P02" ? error : second;
      }
    }
  }
}

/** One after another; nothing depends on it. */
async function deallocate(client: Client, send: Client["query"], names: readonly string[]): Promise<void> {
  for (const name of names) {
    try {
      await send(`deallocate "${name}"`);
    } catch {
      // A pooler has it under another name, or has none.
    }
    delete client.connection?.parsedStatements?.[name];
    delete client.connection?.submittedNamedStatements?.[name];
  }
}

/**
 * Whether a statement failed by its name alone, and so did nothing: the connection's server has no such name or already has it
 * (invalid_sql_statement_name, duplicate_prepared_statement), or a table has other columns since.
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

interface Known {
  uses: number;
  name: string | undefined;
  namedAt: number;
}

/** One connection's names. */
class Names {
  readonly #known = new Map<string, Known>();
  #outlived: string[] = [];

  /** The name to send a statement by, where it has been repeated often enough. */
  of(text: string): string | undefined {
    const statement = this.#known.get(text) ?? { uses: 0, name: undefined, namedAt: 0 };
    // Used last, forgotten last.
    this.#known.delete(text);
    this.#known.set(text, statement);
    if (this.#known.size > MAX_STATEMENTS) this.#forgetOldest();
    if (++statement.uses <= USES_UNNAMED) return undefined;
    const now = Date.now();
    if (statement.name !== undefined && Math.abs(now - statement.namedAt) < KEEP_NAME_MS)
      return statement.name;
    if (statement.name !== undefined) this.#outlived.push(statement.name);
    const hash = createHash("sha256").update(text).digest("hex").slice(0, 32);
    statement.name = `sallyport_${hash}_${now.toString(36)}`;
    statement.namedAt = now;
    return statement.name;
  }

  /** A statement needs another name. */
  renew(text: string): void {
    const statement = this.#known.get(text);
    if (statement) statement.namedAt = 0;
  }

  get hasOutlived(): boolean {
    return this.#outlived.length > 0;
  }

  /** Names that are used no more. */
  takeOutlived(): readonly string[] {
    const outlived = this.#outlived;
    this.#outlived = [];
    return outlived;
  }

  #forgetOldest(): void {
    const [text, { name }] = this.#known.entries().next().value as [string, Known];
    this.#known.delete(text);
    if (name !== undefined) this.#outlived.push(name);
  }
}
