import type { ManagementApi, PostResult } from "./management-api.ts";

/** Timeout of a call to a custom Management API, in milliseconds. */
const TIMEOUT_MS = 15_000;

/** Adds a timeout to each call of a custom {@link ManagementApi}. */
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
    return this.#within(this.#api.post(endpoint, connectionId, frame), TIMED_OUT);
  }

  delete(endpoint: string, connectionId: string): Promise<PostResult> {
    return this.#within(this.#api.delete(endpoint, connectionId), TIMED_OUT);
  }

  async get(endpoint: string, connectionId: string): Promise<PostResult> {
    const result = this.#api.get?.(endpoint, connectionId);
    return result ? this.#within(result, TIMED_OUT) : UNSUPPORTED;
  }

  close(): Promise<void> {
    return this.#api.close();
  }

  async #within<Result>(work: Promise<Result>, onTimeout: Result): Promise<Result> {
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<Result>((resolve) => {
      timer = setTimeout(() => resolve(onTimeout), this.#timeoutMs);
    });
    try {
      return await Promise.race([work, timeout]);
    } finally {
      clearTimeout(timer);
    }
  }
}

const UNSUPPORTED: PostResult = { kind: "failed", reason: "get() is not implemented" };
const TIMED_OUT: PostResult = { kind: "retry", reason: "timeout" };
