import { setTimeout as sleep } from "node:timers/promises";
import type { PostgresPool, PostgresPoolClient } from "kysely";
import type { Pool, PoolClient } from "pg";
import { waitAtMost } from "../timing.ts";
import { Admission } from "./admission.ts";
import { OneTripTransaction } from "./one-trip.ts";
import { isConnectionLost, isPoolTimeout, isReadOnly, isTransient } from "./postgres-failures.ts";
import type { PostgresHosts } from "./postgres-hosts.ts";
import { asError, isRead, StatementClock, TrackedConnection, type WatchedClient } from "./statement-clock.ts";

/** A connection that was idle for longer is checked before it is used, in milliseconds. */
const IDLE_MS = 5000;
/** The maximum duration of the check of an idle connection, in milliseconds. */
const ANSWER_MS = 1000;
/** The maximum duration of the check of a new connection, in milliseconds. */
const VERIFY_MS = 3000;
/**
 * How long a connect is retried if the server is not reachable or not the writer, in milliseconds.
 */
export const RETRY_FOR_MS = 5000;
/** The maximum pause between two attempts, in milliseconds. */
export const RETRY_PAUSE_MS = 400;
/** How long connections have to close regularly when the pool is closed, in milliseconds. */
const END_MS = 500;

/** Checks in one round trip whether the connection works, and whether the server accepts writes. */
const CHECK = "select current_setting('transaction_read_only') as read_only";

/** The text of a one-trip transaction for the clock. */
const TRIP = "begin; commit";

/** A client with the connection string of its server. */
type Client = PoolClient & WatchedClient & { readonly source: string };

/**
 * A pool that returns working connections only.
 *
 * - An idle connection is checked first. After a process was frozen, such as a Lambda function
 *   between two events, its connections may have been closed by the server or the network.
 * - If a server does not accept writes, its connection is closed. Other connections that were
 *   opened before with the same connection string are closed, too.
 * - A late statement is cancelled and its connection is closed. See {@link StatementClock}.
 * - If no connection can be opened, one attempt at a time is made. Callers wait for up to five
 *   seconds.
 * - A read is repeated on another connection if its connection is lost.
 */
export class CheckedPool implements PostgresPool {
  readonly #pool: Pool;
  readonly #hosts: PostgresHosts;
  readonly #admission: Admission;
  readonly #clock: StatementClock;
  readonly #lines = new Map<object, TrackedConnection>();
  /** In epoch milliseconds, because the wall clock continues while a process is frozen. */
  readonly #releasedAt = new WeakMap<object, number>();
  /** `performance.now()`. Connections without an answer since then may be lost. */
  #lostAt = Number.NEGATIVE_INFINITY;
  /**
   * `performance.now()` when a server did not accept writes, by connection string. Connections that
   * were opened before this time may be to the same server.
   */
  readonly #readOnlyAt = new Map<string, number>();
  #probing: Promise<void> | undefined;
  #isEnding = false;

  /** @param waitMs how long the first read of an event waits for its turn, in milliseconds */
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

  /** Kysely 0.29 uses these options to connect and cancel a query. */
  get options(): object {
    return this.#pool.options;
  }

  async connect(): Promise<PostgresPoolClient> {
    return (await this.#connect(performance.now() + RETRY_FOR_MS)) as unknown as PostgresPoolClient;
  }

  /**
   * Runs the first read of an event. Statements of events that have already started run first.
   *
   * @returns the rows
   */
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

  /** Closes the pool within one second. Statements that are still in flight fail. */
  async end(): Promise<void> {
    if (this.#isEnding) return;
    this.#isEnding = true;
    this.#admission.close();
    await waitAtMost(END_MS, this.#pool.end());
    // Connections that are in use, and connections without an answer from the network.
    for (const client of this.#lines.keys()) (client as Client).connection.stream.destroy();
  }

  /** Retries until the deadline. This is safe for any statement, because nothing was sent yet. */
  async #connect(deadline: number): Promise<Client> {
    for (;;) {
      if (this.#probing) await waitAtMost(Math.max(0, deadline - performance.now()), this.#probing);
      try {
        return await this.#acquire();
      } catch (error) {
        const isRepeatable = isTransient(error) && !isPoolTimeout(error) && !this.#isEnding;
        if (!isRepeatable || performance.now() >= deadline) throw error;
        this.#probing ??= this.#probe().finally(() => {
          this.#probing = undefined;
        });
      }
    }
  }

  /**
   * Retries until a connection can be opened, or the time has passed. All waiting callers share it.
   */
  async #probe(): Promise<void> {
    const deadline = performance.now() + RETRY_FOR_MS;
    for (let tries = 1; performance.now() < deadline && !this.#isEnding; tries++) {
      // This timer keeps the process alive while a caller waits.
      await sleep(Math.random() * Math.min(RETRY_PAUSE_MS, 10 * 2 ** tries));
      try {
        (await this.#acquire()).release();
        return;
      } catch (error) {
        if (!isTransient(error)) return;
      }
    }
  }

  async #acquire(): Promise<Client> {
    for (;;) {
      const host = this.#hosts.current;
      const client = await this.#pool.connect().catch((error: unknown) => {
        if (!isPoolTimeout(error)) this.#hosts.failed(host, asError(error));
        throw error;
      });
      const line = this.#lines.get(client) as TrackedConnection;
      const { isVerified } = line;
      const reason = await this.#unusable(client as Client, line);
      if (reason === undefined) return this.#wrapRelease(client as Client, line);
      client.release(reason);
      // An idle connection may be to an earlier server of the list, so its own server is reported.
      if (isReadOnly(reason)) this.#hosts.failed((client as Client).source, reason);
      // An idle connection is replaced. The failure of a new connection shows the state of the
      // server.
      if (!isVerified) throw reason;
    }
  }

  /** Returns why a connection cannot be used, or undefined. */
  async #unusable(client: Client, line: TrackedConnection): Promise<Error | undefined> {
    if (line.isVerified) {
      if (line.openedAt <= (this.#readOnlyAt.get(client.source) ?? Number.NEGATIVE_INFINITY))
        return readOnly();
      // Checking a lost connection could take a second. Opening a new one is faster.
      if (line.answeredAt <= this.#lostAt) return new Error("The connection may be lost.");
      const now = Date.now();
      // The absolute difference, so that connections are also checked after the clock was set back.
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

  /** Makes release() close a lost connection, even if the caller does not pass an error. */
  #wrapRelease(client: Client, line: TrackedConnection): Client {
    const release = client.release.bind(client);
    client.release = (error?: Error | boolean) => {
      // A second call does nothing. #repeat() may have released a lost connection.
      client.release = () => undefined;
      // Kysely 0.29 releases with `false`.
      release(error || line.lost);
    };
    return client;
  }

  #watch(client: Client): void {
    const line = new TrackedConnection(client);
    this.#lines.set(client, line);
    this.#clock.add(line);
    const send = client.query.bind(client) as WatchedClient["query"];
    const query: WatchedClient["query"] = (statement, values, callback) => {
      if (statement instanceof OneTripTransaction) {
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

  /**
   * Repeats a read on another connection. The lost one is released first, to make room in the pool.
   */
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
      // Without a name, because names belong to a connection.
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
    "the server does not accept writes (transaction_read_only is on), but Sallyport needs to write. Check which server the connection string names, and whether a failover is in progress.";
  return Object.assign(new Error(message), { code: "25006" });
}
