import type { ManagementApi, PostResult } from "./management-api.ts";

/** How long a call of an app's own Management API may take, in milliseconds. */
const TIMEOUT_MS = 15_000;

/** An app's own way to the gateway, of which nothing waits for ever. */
export class BoundedManagementApi implements ManagementApi {
  readonly #api: ManagementApi;
  readonly #timeoutMs: number;

  constructor(api: ManagementApi, timeoutMs = TIMEOUT_MS) {
    this.#api = api;
    this.#timeoutMs = timeoutMs;
  }

  ready(endpoint: string): Promise<unknown> | undefined {
    const ready = this.#api.ready?.(endpoint);
    return ready && this.#within(ready, undefined);
  }

  post(endpoint: string, connectionId: string, frame: string): Promise<PostResult> {
    return this.#within(this.#api.post(endpoint, connectionId, frame), SILENT);
  }

  delete(endpoint: string, connectionId: string): Promise<PostResult> {
    return this.#within(this.#api.delete(endpoint, connectionId), SILENT);
  }

  async get(endpoint: string, connectionId: string): Promise<PostResult> {
    const result = this.#api.get?.(endpoint, connectionId);
    return result ? this.#within(result, SILENT) : UNSUPPORTED;
  }

  close(): Promise<void> {
    return this.#api.close();
  }

  async #within<Result>(work: Promise<Result>, otherwise: Result): Promise<Result> {
    let timer: NodeJS.Timeout | undefined;
    const silence = new Promise<Result>((resolve) => {
      timer = setTimeout(() => resolve(otherwise), this.#timeoutMs);
    });
    try {
      return await Promise.race([work, silence]);
    } finally {
      clearTimeout(timer);
    }
  }
}

const UNSUPPORTED: PostResult = { kind: "failed", reason: "get() is not implemented" };
const SILENT: PostResult = { kind: "retry", reason: "timeout" };
