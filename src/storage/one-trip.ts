/** The part of the connection of `pg` that is used here. */
interface Connection {
  readonly stream: { cork(): void; uncork(): void };
  /** The names of the statements that the connection has prepared. */
  readonly parsedStatements: Record<string, unknown>;
  parse(statement: { readonly text: string; readonly name: string }): void;
  bind(portal: {
    readonly statement: string;
    readonly values: readonly unknown[];
    readonly valueMapper: (value: unknown) => string | null;
  }): void;
  execute(portal: object): void;
  sync(): void;
}

/** A statement of a one-trip transaction. Its values are texts, numbers or null. */
export interface TripStatement {
  readonly text: string;
  readonly values: readonly unknown[];
}

const BEGIN: TripStatement = { text: "begin isolation level read committed", values: [] };
const COMMIT: TripStatement = { text: "commit", values: [] };

/**
 * A transaction that sends all statements together, so that it takes one round trip. If a statement
 * fails, the server skips the others and the commit. The caller then sends a rollback.
 *
 * Pass it to `query()` of a `pg` client, which accepts objects that write their own messages.
 * `pg-cursor` uses the same interface. Source: PostgreSQL, "Message Flow", Extended Query.
 */
export class OneTripTransaction {
  /** The maximum time until the answer, in milliseconds. */
  readonly limitMs: number;
  /** Resolves with the number of rows that each statement returned or wrote. */
  readonly done: Promise<readonly number[]>;
  readonly #statements: readonly TripStatement[];
  readonly #names = new Map<TripStatement, string>();
  readonly #rows: number[] = [];
  #connection: Connection | undefined;
  /**
   * Called at the end. It must exist, because `pg` wraps it if the connection string has
   * `query_timeout`.
   */
  callback: (error?: Error) => void = () => undefined;
  #resolve!: (rows: readonly number[]) => void;
  #reject!: (error: Error) => void;

  constructor(statements: readonly TripStatement[], limitMs: number) {
    this.#statements = [BEGIN, ...statements, COMMIT];
    this.limitMs = limitMs;
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // The caller awaits it after sending. Until then, a rejection must not be unhandled.
    this.done.catch(() => undefined);
  }

  /** Sets the names of statements, so that the server parses and plans them only once. */
  setNames(nameOf: (text: string) => string | undefined): void {
    for (const statement of this.#statements) {
      if (statement === BEGIN || statement === COMMIT) continue;
      const name = nameOf(statement.text);
      if (name !== undefined) this.#names.set(statement, name);
    }
  }

  /** The text of the first statement that was not completed. */
  get failedText(): string {
    return this.#statements[this.#rows.length]?.text ?? "";
  }

  /** Called by `pg` to send the transaction. */
  submit(connection: Connection): void {
    this.#connection = connection;
    connection.stream.cork();
    try {
      for (const statement of this.#statements) {
        const { text, values } = statement;
        const name = this.#names.get(statement) ?? "";
        if (name === "" || connection.parsedStatements[name] === undefined) connection.parse({ text, name });
        connection.bind({ statement: name, values, valueMapper: textOf });
        connection.execute({});
      }
      connection.sync();
    } finally {
      connection.stream.uncork();
    }
  }

  handleCommandComplete({ text }: { readonly text: string }): void {
    const statement = this.#statements[this.#rows.length];
    const name = statement && this.#names.get(statement);
    if (this.#connection && statement && name !== undefined) {
      this.#connection.parsedStatements[name] = statement.text;
    }
    // A command tag ends with the number of rows, if it has one.
    this.#rows.push(Number(/\d+$/.exec(text)?.[0] ?? 0));
  }

  handleError(error: Error): void {
    this.#reject(error);
    this.callback(error);
  }

  handleReadyForQuery(): void {
    // Without the results of begin and commit.
    this.#resolve(this.#rows.slice(1, -1));
    this.callback();
  }

  handleDataRow(): void {}

  handleRowDescription(): void {}

  handleEmptyQuery(): void {}

  handlePortalSuspended(): void {}

  handleCopyInResponse(): void {}

  handleCopyData(): void {}
}

function textOf(value: unknown): string | null {
  return value === null || value === undefined ? null : String(value);
}
