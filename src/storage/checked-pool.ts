import { setTimeout as sleep } from "node:timers/promises";
import type { PostgresPool, PostgresPoolClient } from "kysely";
import type { Pool, PoolClient } from "pg";
import { within } from "../with-timeout.ts";
import { Admission } from "./admission.ts";
import { OneTrip } from "./one-trip.ts";
import { isConnectionLost, isPoolTimeout, isReadOnly, isTransient } from "./postgres-failures.ts";
import type { PostgresHosts } from "./postgres-hosts.ts";
import { asError, isRead, Line, StatementClock, type WatchedClient } from "./statement-clock.ts";

/** How long a connection has been idle that is checked before it is used, and how long it has for its answer, in milliseconds. */
const IDLE_MS = 5000;
const ANSWER_MS = 1000;
/** How long the check of a new connection may take, in milliseconds. */
const VERIFY_MS = 3000;
/** How long a connection is tried to be made, while the server is away or is not the writer, in milliseconds. */
export const RETRY_FOR_MS = 5000;
/** Longest pause between two tries, in milliseconds. */
export const RETRY_PAUSE_MS = 400;
/** How long connections have to end in an orderly way when the pool is closed, in milliseconds. */
const END_MS = 500;

/** A statement of one round trip that shows whether the connection is there, and whether its server accepts writes. */
const CHECK = "select current_setting('transaction_read_only') as read_only";

/** A transaction that begins and ends in one trip, as a text for the clock. */
const TRIP = "begin; commit";

/** A client that stores the connection string of the server to which it was opened. */
type Client = PoolClient & WatchedClient & { readonly source: string };

/**
 * Lends connections that work.
 *
 * - A connection that was idle is checked first. A process that was frozen, as a function is between two events, still has connections
 *   that the server or something in between has given up long ago.
 * - A connection whose server does not accept writes is closed, like all connections that were opened with the same connection string
 *   before this was found.
 * - A statement whose answer is late is cancelled, and its connection is closed, see {@link StatementClock}.
 * - While no connection can be made, one attempt at a time is made, and whoever needs a connection waits for it for up to five seconds.
 * - A read whose connection breaks is repeated on another one.
 */
export class CheckedPool implements PostgresPool {
  readonly #pool: Pool;
  readonly #hosts: PostgresHosts;
  readonly #admission: Admission;
  readonly #clock: StatementClock;
  readonly #lines = new Map<object, Line>();
  /** Epoch milliseconds: what goes on while a process is frozen. */
  readonly #releasedAt = new WeakMap<object, number>();
  /** `performance.now()`: connections without an answer since then are of no use. */
  #lostAt = Number.NEGATIVE_INFINITY;
  /**
   * `performance.now()` at which a server was found that does not accept writes, by connection string. Connections opened before it
   * may lead to the same server, also those opened after the connection that found it.
   */
  readonly #readOnlyAt = new Map<string, number>();
  #probing: Promise<void> | undefined;
  #isEnding = false;

  /** @param waitMs how long a first read waits for its turn, in milliseconds */
  constructor(pool: Pool, hosts: PostgresHosts, waitMs: number) {
    this.#pool = pool;
    this.#admission = new Admission(pool.options.max, waitMs);
    this.#hosts = hosts;
    this.#clock = new StatementClock((sentAt) => {
      this.#lostAt = Math.max(this.#lostAt, sentAt);
    });
    pool.on("connect", (client) => this.#watch(client as Client));
    pool.on("release", (_error, client) => this.#releasedAt.set(client, Date.now()));
    pool.on("remove", (client) => {
      const line = this.#lines.get(client);
      if (line) this.#clock.remove(line);
      this.#lines.delete(client);
    });
  }

  /** Kysely 0.29 connects with them to cancel a query. */
  get options(): object {
    return this.#pool.options;
  }

  async connect(): Promise<PostgresPoolClient> {
    return (await this.#connect(performance.now() + RETRY_FOR_MS)) as unknown as PostgresPoolClient;
  }

  /** Runs the first read of an event, behind the statements of events that have begun. @returns the rows */
  async readFirst(text: string, values: readonly unknown[]): Promise<readonly unknown[]> {
    const turn = this.#admission.enter();
    if (turn) await turn;
    try {
      const client = await this.#connect(performance.now() + RETRY_FOR_MS);
      try {
        return (await client.query(text, values as unknown[])).rows;
      } finally {
        client.release();
      }
    } finally {
      this.#admission.leave();
    }
  }

  /** Resolves within a second. Statements that are in flight by then fail. */
  async end(): Promise<void> {
    if (this.#isEnding) return;
    this.#isEnding = true;
    this.#admission.close();
    await within(END_MS, this.#pool.end());
    // Those that are in use, and those whose network does not answer.
    for (const client of this.#lines.keys()) (client as Client).connection.stream.destroy();
  }

  /** Nothing was sent while there is no connection, so this can be repeated whatever the caller wants to do. */
  async #connect(deadline: number): Promise<Client> {
    for (;;) {
      if (this.#probing) await within(Math.max(0, deadline - performance.now()), this.#probing);
      try {
        return await this.#lend();
      } catch (error) {
        const isRepeatable = isTransient(error) && !isPoolTimeout(error) && !this.#isEnding;
        if (!isRepeatable || performance.now() >= deadline) throw error;
        this.#probing ??= this.#probe().finally(() => {
          this.#probing = undefined;
        });
      }
    }
  }

  /** Tries again and again until there is a connection, or it has failed for long enough. One at a time, whoever waits for it. */
  async #probe(): Promise<void> {
    const deadline = performance.now() + RETRY_FOR_MS;
    for (let tries = 1; performance.now() < deadline && !this.#isEnding; tries++) {
      // Keeps the process alive: a caller waits, and between two attempts nothing else might.
      await sleep(Math.random() * Math.min(RETRY_PAUSE_MS, 10 * 2 ** tries));
      try {
        (await this.#lend()).release();
        return;
      } catch (error) {
        if (!isTransient(error)) return;
      }
    }
  }

  async #lend(): Promise<Client> {
    for (;;) {
      const host = this.#hosts.current;
      const client = await this.#pool.connect().catch((error: unknown) => {
        if (!isPoolTimeout(error)) this.#hosts.failed(host, asError(error));
        throw error;
      });
      const line = this.#lines.get(client) as Line;
      const { isVerified } = line;
      const reason = await this.#unusable(client as Client, line);
      if (reason === undefined) return this.#lent(client as Client, line);
      client.release(reason);
      // A connection that was idle may have been opened before the list moved on, so its own server counts.
      if (isReadOnly(reason)) this.#hosts.failed((client as Client).source, reason);
      // One that was idle is replaced; what a new one does wrong is the server's state.
      if (!isVerified) throw reason;
    }
  }

  /** Returns why a connection is not lent. */
  async #unusable(client: Client, line: Line): Promise<Error | undefined> {
    if (line.isVerified) {
      if (line.openedAt <= (this.#readOnlyAt.get(client.source) ?? Number.NEGATIVE_INFINITY))
        return readOnly();
      // One that is lost might take a second each to find out, and one that is made anew needs no check.
      if (line.answeredAt <= this.#lostAt) return new Error("The connection may be lost.");
      const now = Date.now();
      // In either direction: after the clock was set back, a connection would not be checked until it gets there again.
      if (Math.abs(now - (this.#releasedAt.get(client) ?? now)) < IDLE_MS) return undefined;
    }
    const before = line.answeredAt;
    try {
      const { rows } = await client.query<{ read_only: string }>({
        text: CHECK,
        limitMs: line.isVerified ? ANSWER_MS : VERIFY_MS,
      } as never);
      if (rows[0]?.read_only === "on") {
        this.#readOnlyAt.set(client.source, performance.now());
        return readOnly();
      }
      line.isVerified = true;
      this.#hosts.failure = undefined;
      return undefined;
    } catch (error) {
      if (line.isVerified) this.#lostAt = Math.max(this.#lostAt, before);
      return asError(error);
    }
  }

  /** A connection that broke is closed when it comes back, also where its user does not know. */
  #lent(client: Client, line: Line): Client {
    const release = client.release.bind(client);
    client.release = (error?: Error | boolean) => {
      // Given back already, because it broke.
      client.release = () => undefined;
      release(error ?? line.lost);
    };
    return client;
  }

  #watch(client: Client): void {
    const line = new Line(client);
    this.#lines.set(client, line);
    this.#clock.add(line);
    const send = client.query.bind(client) as WatchedClient["query"];
    const query: WatchedClient["query"] = (statement, values, callback) => {
      if (statement instanceof OneTrip) {
        const run = () => {
          send(statement);
          return statement.done;
        };
        return this.#clock.time(line, TRIP, run, statement.limitMs).catch((error: unknown) => {
          if (isReadOnly(error)) this.#readOnlyAt.set(client.source, performance.now());
          throw error;
        });
      }
      const text = textOf(statement);
      if (text === undefined || callback !== undefined || typeof values === "function") {
        return send(statement, values, callback);
      }
      const { limitMs } = statement as { limitMs?: number };
      const isRepeatable = !line.isInTransaction && limitMs === undefined && isRead(text);
      const run = () => send(statement, values) as Promise<unknown>;
      const result = this.#clock.time(line, text, run, limitMs);
      return result.catch((error: unknown) => {
        if (isReadOnly(error)) this.#readOnlyAt.set(client.source, performance.now());
        if (isRepeatable && isConnectionLost(error) && (error as { code?: unknown }).code !== "ETIMEDOUT") {
          return this.#repeat(client, error, text, statement, values);
        }
        throw error;
      });
    };
    client.query = query as never;
  }

  /** Reads once more, on another connection. The broken one is given back first, so that it leaves room for it. */
  async #repeat(
    client: Client,
    error: unknown,
    text: string,
    statement: unknown,
    values: unknown,
  ): Promise<unknown> {
    if (this.#isEnding) throw error;
    client.release();
    const other = await this.#connect(performance.now() + RETRY_FOR_MS);
    try {
      // Without a name: names are those of a connection.
      return await other.query(text, (values ?? (statement as { values?: unknown }).values) as never);
    } finally {
      other.release();
    }
  }
}

function textOf(statement: unknown): string | undefined {
  if (typeof statement === "string") return statement;
  const { text, submit } = (statement ?? {}) as { text?: unknown; submit?: unknown };
  return typeof text === "string" && submit === undefined ? text : undefined;
}

function readOnly(): Error {
  const message =
    "the server does not accept writes (transaction_read_only is on), and Sallyport needs the writer. Check where the connection string leads to, and whether a failover is in progress.";
  return Object.assign(new Error(message), { code: "25006" });
}
