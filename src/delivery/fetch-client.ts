import type { CallClient, CallController, CallHandler, ClientCall } from "./http-clients.ts";

/** Makes calls with `fetch` of the runtime, for runtimes where undici does not work. */
export class FetchClient implements CallClient {
  readonly #origin: string;
  #call: AbortController | undefined;

  constructor(origin: string) {
    this.#origin = origin;
  }

  dispatch(call: ClientCall, handler: CallHandler): void {
    const abortController = new AbortController();
    this.#call = abortController;
    const controller: CallController = { abort: (error) => abortController.abort(error) };
    handler.onRequestStart(controller);
    this.#exchange(call, handler, controller, abortController.signal)
      .then(
        () => handler.onResponseEnd(),
        (error) => handler.onResponseError(controller, errorOf(error)),
      )
      .finally(() => {
        if (this.#call === abortController) this.#call = undefined;
      });
  }

  /** Ends the call that is in flight. */
  async destroy(): Promise<void> {
    this.#call?.abort(new Error("The client is destroyed"));
  }

  async #exchange(
    { method, path, headers, body }: ClientCall,
    handler: CallHandler,
    controller: CallController,
    signal: AbortSignal,
  ): Promise<void> {
    // The signature covers the path unchanged. Redirects would send the signature to another host.
    const response = await fetch(this.#origin + path, { method, headers, body, signal, redirect: "manual" });
    handler.onResponseStart(controller, response.status, Object.fromEntries(response.headers));
    // Read the whole body, so that the connection can be reused.
    for await (const chunk of response.body ?? []) handler.onResponseData(controller, chunk);
  }
}

/** Node.js reports the failure of a connection in `cause`, Bun in the error itself. */
function errorOf(error: unknown): Error {
  const { cause } = (error ?? {}) as { readonly cause?: unknown };
  if (cause instanceof Error) return cause;
  return error instanceof Error ? error : new Error(String(error));
}
