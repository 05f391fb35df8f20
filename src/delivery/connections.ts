import type { Client } from "undici";

/** What makes connections. */
export type ClientClass = new (origin: string, options: Client.Options) => Client;

/** Loaded when the first call is to be made: it is a third of what a process would spend on importing us. */
export async function loadClient(): Promise<ClientClass> {
  return (await import("undici")).Client;
}

/**
 * Connections to one host, each with one call at a time, as many as calls are under way. Those used last are used first, so that the
 * others may end.
 *
 * In place of `undici`'s Pool, which looks through all of them for one that is free.
 */
export class Connections {
  readonly #Client: ClientClass;
  readonly #origin: string;
  readonly #options: Client.Options;
  readonly #all: Client[] = [];
  readonly #free: Client[] = [];

  constructor(Client: ClientClass, origin: string, options: Client.Options) {
    this.#Client = Client;
    this.#origin = origin;
    this.#options = options;
  }

  /** One to make a call on. Give it back by {@link give} once the call has ended. */
  take(): Client {
    const free = this.#free.pop();
    if (free) return free;
    const client = new this.#Client(this.#origin, this.#options);
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
