import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "pg";

/** Pauses between two tries to listen, in milliseconds: doubled each time. */
const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 30_000;
/** How long a connection may take to end, in milliseconds. */
const END_MS = 1000;

/**
 * A connection that hears of changes in other processes by LISTEN, and is made anew when it is lost. It keeps no process alive.
 *
 * Nothing rests on it: behind a pooler of transactions it hears nothing, and whoever is woken looks by himself now and then.
 */
export class WakeUps {
  readonly #connect: () => Promise<Client>;
  readonly #channel: string;
  readonly #ownName: string;
  readonly #woken: () => void;
  #client: Client | undefined;
  #timer: NodeJS.Timeout | undefined;
  #pauseMs = FIRST_PAUSE_MS;
  #isStopped = false;

  /**
   * @param connect gives a client that is not connected yet
   * @param channel SQL of the channel's name
   * @param ownName what this process's own changes are told by, which wake nobody here
   */
  constructor(options: {
    readonly connect: () => Promise<Client>;
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

  /** Resolves when the connection is closed, or has not answered for a second. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    await this.#drop();
  }

  async #listen(): Promise<void> {
    let client: Client | undefined;
    try {
      client = await this.#connect();
      if (this.#isStopped) return;
      this.#client = client;
      client.on("error", () => this.#lost(client)).on("end", () => this.#lost(client));
      client.on("notification", ({ payload }) => {
        if (payload !== this.#ownName) this.#woken();
      });
      await client.connect();
      (client as Client & { unref(): void }).unref();
      const { rows } = await client.query<{ channel: string }>(`select ${this.#channel} as channel`);
      await client.query(`listen ${client.escapeIdentifier(rows[0]?.channel ?? "")}`);
      this.#pauseMs = FIRST_PAUSE_MS;
      // Of what changed in between nobody was told.
      this.#woken();
    } catch {
      this.#lost(client);
    }
  }

  /** Once for each client, however it tells. */
  #lost(client: Client | undefined): void {
    if (this.#client !== client || this.#isStopped) return;
    void this.#drop();
    this.#timer = setTimeout(() => this.start(), this.#pauseMs).unref();
    this.#pauseMs = Math.min(2 * this.#pauseMs, LONGEST_PAUSE_MS);
  }

  async #drop(): Promise<void> {
    const client = this.#client;
    this.#client = undefined;
    if (!client) return;
    await Promise.race([client.end().catch(() => undefined), sleep(END_MS, undefined, { ref: false })]);
  }
}
