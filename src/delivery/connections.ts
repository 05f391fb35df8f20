import { Client } from "undici";

/**
 * Connections to one host, each with one call at a time, as many as calls are under way. Those used last are used first, so that the
 * others may end.
 *
 * In place of `undici`'s Pool, which looks through all of them for one that is free.
 */
export class Connections {
  readonly #origin: string;
  readonly #options: Client.Options;
  readonly #all: Client[] = [];
  readonly #free: Client[] = [];

  constructor(origin: string, options: Client.Options) {
    this.#origin = origin;
    this.#options = options;
  }

  /** One to make a call on. Give it back by {@link give} once the call has ended. */
  take(): Client {
    const free = this.#free.pop();
    if (free) return free;
    const client = new Client(this.#origin, this.#options);
    this.#all.push(client);
    return client;
  }

  give(client: Client): void {
    this.#free.push(client);
  }

  async destroy(): Promise<void> {
    await Promise.all(this.#all.map((client) => client.destroy()));
  }
}
