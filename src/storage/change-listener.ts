import { setTimeout as sleep } from "node:timers/promises";

/** Pauses between two tries to listen, in milliseconds: doubled each time, and each of them any part of that. */
const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 30_000;
/** How long a connection has lasted that was no failure, in milliseconds. */
const LASTED_MS = 60_000;
/** How long a connection may take to end, in milliseconds. */
const END_MS = 1000;

/** As much of `pg`'s client as is needed. */
export interface ListeningClient {
  on(event: "error" | "end", heard: () => void): unknown;
  on(event: "notification", heard: (message: { readonly payload?: string }) => void): unknown;
  connect(): Promise<unknown>;
  query(statement: string): Promise<{ readonly rows: readonly unknown[] }>;
  escapeIdentifier(name: string): string;
  end(): Promise<void>;
  ref(): void;
  unref(): void;
  readonly connection: { readonly stream: { destroy(): unknown } };
}

/**
 * A connection that hears of changes in other processes by LISTEN, and is made anew when it is lost. It keeps no process alive.
 *
 * Nothing rests on it: behind a pooler of transactions it hears nothing, and whoever is woken looks by himself now and then.
 */
export class ChangeListener {
  readonly #connect: () => Promise<ListeningClient>;
  readonly #channel: string;
  readonly #ownName: string;
  readonly #woken: () => void;
  #client: ListeningClient | undefined;
  #timer: NodeJS.Timeout | undefined;
  #pauseMs = FIRST_PAUSE_MS;
  #listensSince = Number.POSITIVE_INFINITY;
  #isStopped = false;

  /**
   * @param connect gives a client that is not connected yet
   * @param channel SQL of the channel's name
   * @param ownName what this storage's own changes are told by, which wake nobody here
   */
  constructor(options: {
    readonly connect: () => Promise<ListeningClient>;
    readonly channel: string;
    readonly ownName: string;
    readonly woken: () => void;
  }) {
    this.#connect = options.connect;
    this.#channel = options.channel;
    this.#ownName = options.ownName;
    this.#woken = options.woken;
  }

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
    let client: ListeningClient | undefined;
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
      // Of what changed in between nobody was told.
      this.#woken();
    } catch {
      this.#lost(client);
    }
  }

  /** Once for each client, however it tells. */
  #lost(client: ListeningClient | undefined): void {
    if (this.#client !== client || this.#isStopped) return;
    void this.#drop();
    if (performance.now() - this.#listensSince > LASTED_MS) this.#pauseMs = FIRST_PAUSE_MS;
    this.#listensSince = Number.POSITIVE_INFINITY;
    // All the processes lose a server at once; it need not be asked by all of them at once.
    this.#timer = setTimeout(() => this.start(), Math.random() * this.#pauseMs).unref();
    this.#pauseMs = Math.min(2 * this.#pauseMs, LONGEST_PAUSE_MS);
  }

  async #drop(): Promise<void> {
    const client = this.#client;
    this.#client = undefined;
    if (!client) return;
    const ending = new AbortController();
    // Whoever waits for the end is kept waiting until it has come.
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
