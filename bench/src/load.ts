import { Client, type Dispatcher } from "undici";

export interface LoadRequest {
  readonly path: string;
  readonly headers: Record<string, string>;
  readonly body: string;
}

/**
 * Sends POST requests to a server and returns the number of requests per second.
 *
 * @param next returns the next request, or undefined to stop
 * @param options.concurrency number of connections, with one request at a time on each. Default 32
 * @param options.durationMs how long requests are sent, in milliseconds. Default 2000
 * @throws Error if the status of a response is not 200
 */
export async function requestsPerSecond(
  origin: string,
  next: () => LoadRequest | undefined,
  {
    concurrency = 32,
    durationMs = 2000,
  }: { readonly concurrency?: number; readonly durationMs?: number } = {},
): Promise<number> {
  const clients = Array.from({ length: concurrency }, () => new Client(origin));
  const startedAt = performance.now();
  let responses = 0;
  await Promise.all(
    clients.map(async (client) => {
      for (let request = next(); request && performance.now() - startedAt < durationMs; request = next()) {
        await post(client, request);
        responses++;
      }
    }),
  );
  const rate = responses / ((performance.now() - startedAt) / 1000);
  await Promise.all(clients.map((client) => client.destroy()));
  return rate;
}

function post(client: Client, request: LoadRequest): Promise<void> {
  return new Promise((resolve, reject) => {
    client.dispatch({ method: "POST", ...request }, new ResponseHandler(resolve, reject));
  });
}

class ResponseHandler implements Dispatcher.DispatchHandler {
  readonly #resolve: () => void;
  readonly #reject: (error: Error) => void;
  #status = 0;
  #body = "";

  constructor(resolve: () => void, reject: (error: Error) => void) {
    this.#resolve = resolve;
    this.#reject = reject;
  }

  onRequestStart(): void {}

  onResponseStart(_controller: unknown, status: number): void {
    this.#status = status;
  }

  onResponseData(_controller: unknown, chunk: Buffer): void {
    if (this.#status !== 200) this.#body += chunk.toString();
  }

  onResponseEnd(): void {
    if (this.#status === 200) this.#resolve();
    else this.#reject(new Error(`The server returned status ${this.#status}: ${this.#body}`));
  }

  onResponseError(_controller: unknown, error: Error): void {
    this.#reject(error);
  }
}
