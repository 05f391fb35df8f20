import { DeliveryError } from "../errors.ts";
import { exportsOf, loadingFailure } from "../optional-packages.ts";
import { FetchClient } from "./fetch-client.ts";

/** A connection to one host, which makes one call at a time. undici's `Client` is one. */
export interface CallClient {
  dispatch(call: ClientCall, handler: CallHandler): unknown;
  destroy(): Promise<void>;
}

export interface ClientCall {
  readonly method: "POST" | "DELETE" | "GET";
  readonly path: string;
  readonly headers: Record<string, string>;
  readonly body: string | null;
}

/** Receives the progress of a call. The names are undici's. */
export interface CallHandler {
  onRequestStart(controller: CallController): void;
  onResponseStart(
    controller: CallController,
    status: number,
    headers: Record<string, string | string[] | undefined>,
  ): void;
  onResponseData(controller: CallController, chunk: Uint8Array): void;
  onResponseEnd(): void;
  onResponseError(controller: CallController, error: Error): void;
}

export interface CallController {
  abort(error: Error): void;
}

export interface ClientOptions {
  readonly connectTimeout: number;
  readonly headersTimeout: number;
  readonly bodyTimeout: number;
  readonly keepAliveTimeout: number;
  readonly maxHeaderSize: number;
}

/** What makes connections. */
export type ClientClass = new (origin: string, options: ClientOptions) => CallClient;

/**
 * Loaded when the first call is to be made: it is a third of what a process would spend on importing us.
 *
 * Bun replaces undici with classes that send nothing, so calls go through `fetch` there.
 *
 * @throws DeliveryError if undici cannot be loaded, or if this runtime has replaced it with a class that sends nothing
 */
export async function loadClient(): Promise<ClientClass> {
  if (process.versions.bun !== undefined) return FetchClient;
  const { Client } = await importUndici();
  if (typeof Client?.prototype?.dispatch === "function") return Client;
  throw unusable(
    "Sends need the package undici, and this runtime or a bundler has replaced its Client with a class that cannot send. " +
      "Keep undici as it is installed, or set apiGateway: { client }.",
  );
}

async function importUndici(): Promise<typeof import("undici")> {
  try {
    return exportsOf(await import("undici"));
  } catch (cause) {
    throw unusable(loadingFailure({ name: "undici", neededBy: "Sending" }, cause), cause);
  }
}

function unusable(message: string, cause?: unknown): DeliveryError {
  return new DeliveryError(message, { code: "SALLYPORT_DELIVERY", status: 500, cause });
}

/**
 * Connections to one host, each with one call at a time, as many as calls are under way. Those used last are used first, so that the
 * others may end.
 *
 * In place of `undici`'s Pool, which looks through all of them for one that is free.
 */
export class HttpClients {
  readonly #Client: ClientClass;
  readonly #origin: string;
  readonly #options: ClientOptions;
  readonly #all: CallClient[] = [];
  readonly #free: CallClient[] = [];

  constructor(Client: ClientClass, origin: string, options: ClientOptions) {
    this.#Client = Client;
    this.#origin = origin;
    this.#options = options;
  }

  /** One to make a call on. Give it back by {@link give} once the call has ended. */
  take(): CallClient {
    const free = this.#free.pop();
    if (free) return free;
    const client = new this.#Client(this.#origin, this.#options);
    this.#all.push(client);
    return client;
  }

  give(client: CallClient): void {
    this.#free.push(client);
  }

  async destroy(): Promise<void> {
    await Promise.all(this.#all.map((client) => client.destroy()));
  }
}
