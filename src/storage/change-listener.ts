import { setTimeout as sleep } from "node:timers/promises";

/**
 * The maximum pause before the first retry, in milliseconds. It doubles with each retry. Pauses are
 * random.
 */
const FIRST_PAUSE_MS = 1000;
/** The maximum pause before a retry, in milliseconds. */
const LONGEST_PAUSE_MS = 30_000;
/**
 * After a connection has lasted for this time, the pauses start again from the first, in
 * milliseconds.
 */
const LASTED_MS = 60_000;
/** The maximum time to close a connection, in milliseconds. */
const END_MS = 1000;

/** The part of the client of `pg` that is used here. */
export interface NotificationClient {
  on(event: "error" | "end", listener: () => void): unknown;
  on(event: "notification", listener: (message: { readonly payload?: string }) => void): unknown;
  connect(): Promise<unknown>;
  query(statement: string): Promise<{ readonly rows: readonly unknown[] }>;
  escapeIdentifier(name: string): string;
  end(): Promise<void>;
  ref(): void;
  unref(): void;
  readonly connection: { readonly stream: { destroy(): unknown } };
}

/**
 * A connection that receives notifications of changes in other processes with LISTEN.
 *
 * A lost connection is opened again. It does not keep the process alive. Behind a transaction
 * pooler, it receives nothing. Nothing depends on it, because the poller also checks for changes.
 */
export class ChangeListener {
  readonly #connect: () => Promise<NotificationClient>;
  readonly #channel: string;
  readonly #ownName: string;
  readonly #woken: () => void;
  #client: NotificationClient | undefined;
  #timer: NodeJS.Timeout | undefined;
  #pauseMs = FIRST_PAUSE_MS;
  #listensSince = Number.POSITIVE_INFINITY;
  #isStopped = false;

  /**
   * @param options.connect returns a client that is not connected yet
   * @param options.channel an SQL expression for the name of the channel
   * @param options.ownName identifies the notifications of this storage. They are ignored
   * @param options.woken called after a notification, and after a connection was opened
   */
  constructor(options: {
    readonly connect: () => Promise<NotificationClient>;
    readonly channel: string;
    readonly ownName: string;
    readonly woken: () => void;
  }) {
    this.#connect = options.connect;
    this.#channel = options.channel;
    this.#ownName = options.ownName;
    this.#woken = options.woken;
  }

  /** Starts to listen. Failures are retried in the background. */
  start(): void {
    void this.#listen();
  }

  /** Resolves when the connection has ended. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    await this.#drop();
  }

  async #listen(): Promise<void> {
    let client: NotificationClient | undefined;
    try {
      client = await this.#connect();
      if (this.#isStopped) return;
      this.#client = client;
      client.on("error", () => this.#lost(client));
      client.on("end", () => this.#lost(client));
      client.on("notification", ({ payload }) => {
        if (payload !== this.#ownName) this.#woken();
      });
      await client.connect();
      const { rows } = await client.query(`select ${this.#channel} as channel`);
      const { channel } = rows[0] as { channel: string };
      await client.query(`listen ${client.escapeIdentifier(channel)}`);
      client.unref();
      this.#listensSince = performance.now();
      // Changes before LISTEN were not notified.
      this.#woken();
    } catch {
      this.#lost(client);
    }
  }

  /** Handles the loss of a client. Only the first call for each client has an effect. */
  #lost(client: NotificationClient | undefined): void {
    if (this.#client !== client || this.#isStopped) return;
    void this.#drop();
    if (performance.now() - this.#listensSince > LASTED_MS) this.#pauseMs = FIRST_PAUSE_MS;
    this.#listensSince = Number.POSITIVE_INFINITY;
    // The pause is random, because all processes lose a server at the same time.
    this.#timer = setTimeout(() => this.start(), Math.random() * this.#pauseMs).unref();
    this.#pauseMs = Math.min(2 * this.#pauseMs, LONGEST_PAUSE_MS);
  }

  async #drop(): Promise<void> {
    const client = this.#client;
    this.#client = undefined;
    if (!client) return;
    const ending = new AbortController();
    // Keeps the process alive until the connection is closed.
    client.ref();
    const ended = client.end().catch(() => undefined);
    const late = sleep(END_MS, undefined, { signal: ending.signal }).then(
      () => client.connection.stream.destroy(),
      () => undefined,
    );
    await Promise.race([ended, late]);
    ending.abort();
  }
}
