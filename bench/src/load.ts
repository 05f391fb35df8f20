import { Client, type Dispatcher } from "undici";

/** What one request of a load is. */
export interface LoadRequest {
  readonly path: string;
  readonly headers: Record<string, string>;
  readonly body: string;
}

/**
 * Requests a second that a server answers with 200, so many at once, each on a connection of its own.
 *
 * @param next the next request; undefined where there are no more
 * @throws when an answer is another one
 */
export async function requestsPerSecond(
  origin: string,
  next: () => LoadRequest | undefined,
  { atOnce = 32, ms = 2000 }: { readonly atOnce?: number; readonly ms?: number } = {},
): Promise<number> {
  const clients = Array.from({ length: atOnce }, () => new Client(origin));
  const begun = performance.now();
  let answered = 0;
  await Promise.all(
    clients.map(async (client) => {
      for (let request = next(); request && performance.now() - begun < ms; request = next()) {
        await post(client, request);
        answered++;
      }
    }),
  );
  const rate = answered / ((performance.now() - begun) / 1000);
  await Promise.all(clients.map((client) => client.destroy()));
  return rate;
}

function post(client: Client, request: LoadRequest): Promise<void> {
  return new Promise((resolve, reject) => {
    client.dispatch({ method: "POST", ...request }, new Awaited(resolve, reject));
  });
}

class Awaited implements Dispatcher.DispatchHandler {
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
    else this.#reject(new Error(`status ${this.#status}: ${this.#body}`));
  }

  onResponseError(_controller: unknown, error: Error): void {
    this.#reject(error);
  }
}
