import { DeliveryError } from "../errors.ts";
import { exportsOf, loadingFailure } from "../optional-packages.ts";
import { FetchClient } from "./fetch-client.ts";

/** An HTTP connection to one host with one call at a time, such as `Client` of undici. */
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

/** Receives the events of a call. The names are those of undici. */
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

/** The constructor of a {@link CallClient}. */
export type ClientClass = new (origin: string, options: ClientOptions) => CallClient;

/**
 * Loads the HTTP client, on the first call. Loading undici is a third of the import time of
 * Sallyport.
 *
 * Bun replaces undici with classes that cannot send, so calls use `fetch` there.
 *
 * @throws DeliveryError if undici cannot be loaded, or the runtime has replaced it with a class
 *   that cannot send
 */
export async function loadClient(): Promise<ClientClass> {
  if (process.versions.bun !== undefined) return FetchClient;
  const { Client } = await importUndici();
  if (typeof Client?.prototype?.dispatch === "function") return Client;
  throw clientError(
    "Sending requires the package undici, but this runtime or a bundler has replaced its Client with a class that cannot send. " +
      "Use the installed undici without changes, or set apiGateway: { client }.",
  );
}

async function importUndici(): Promise<typeof import("undici")> {
  try {
    return exportsOf(await import("undici"));
  } catch (cause) {
    throw clientError(loadingFailure({ name: "undici", neededBy: "Sending" }, cause), cause);
  }
}

function clientError(message: string, cause?: unknown): DeliveryError {
  return new DeliveryError(message, { code: "SALLYPORT_DELIVERY", status: 500, cause });
}

/**
 * The connections to one host, one per call in flight. The most recently used connection is used
 * first, so that the others can time out.
 *
 * It replaces `Pool` of undici, which searches all connections for a free one.
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

  /** Returns a connection for one call. Return it with {@link give} after the call. */
  take(): CallClient {
    const free = this.#free.pop();
    if (free) return free;
    const client = new this.#Client(this.#origin, this.#options);
    this.#all.push(client);
    return client;
  }

  /** Takes back a connection after its call. */
  give(client: CallClient): void {
    this.#free.push(client);
  }

  /** Closes all connections. Calls in flight fail. */
  async destroy(): Promise<void> {
    await Promise.all(this.#all.map((client) => client.destroy()));
  }
}
