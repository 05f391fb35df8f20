import { Pool } from "undici";

/** What the Management API said to one call. `retry` may succeed later, `gone` never. */
export type PostResult =
  | { readonly kind: "ok" }
  | { readonly kind: "gone" }
  | { readonly kind: "retry"; readonly reason: string }
  | { readonly kind: "failed"; readonly reason: string };

/** Calls under way at once, each on a connection of its own: none may wait where nobody judges it again. */
export const CONCURRENCY = 128;
/** No call may hang longer, in milliseconds. */
const TIMEOUT_MS = 10_000;

/**
 * API Gateway's Management API as we use it. Bring your own to send another way, as tests in one process do.
 *
 * `endpoint` is the base of the API with its stage, such as `https://abc.execute-api.eu-west-1.amazonaws.com/prod`.
 */
export interface ManagementApi {
  /** Sends a frame to a socket. */
  post(endpoint: string, connectionId: string, frame: string): Promise<PostResult>;
  /** Closes a socket. The client sees 1000. */
  delete(endpoint: string, connectionId: string): Promise<PostResult>;
  close(): Promise<void>;
}

/**
 * The Management API over kept connections: one pool for each endpoint.
 *
 * Source: AWS, "Use @connections commands in your backend service".
 */
export class HttpManagementApi implements ManagementApi {
  readonly #pools = new Map<string, Pool>();

  post(endpoint: string, connectionId: string, frame: string): Promise<PostResult> {
    return this.#call("POST", endpoint, connectionId, frame);
  }

  delete(endpoint: string, connectionId: string): Promise<PostResult> {
    return this.#call("DELETE", endpoint, connectionId, undefined);
  }

  async close(): Promise<void> {
    const pools = [...this.#pools.values()];
    this.#pools.clear();
    await Promise.all(pools.map((pool) => pool.destroy()));
  }

  async #call(
    method: "POST" | "DELETE",
    endpoint: string,
    connectionId: string,
    body: string | undefined,
  ): Promise<PostResult> {
    try {
      const { origin, pathname } = new URL(endpoint);
      const response = await this.#pool(origin).request({
        method,
        path: `${pathname.replace(/\/+$/, "")}/@connections/${encodeURIComponent(connectionId)}`,
        headers: body === undefined ? {} : { "content-type": "application/json" },
        body: body ?? null,
        headersTimeout: TIMEOUT_MS,
        bodyTimeout: TIMEOUT_MS,
      });
      await response.body.dump();
      return resultOf(response.statusCode);
    } catch (error) {
      return { kind: "retry", reason: (error as { code?: string }).code ?? (error as Error).message };
    }
  }

  #pool(origin: string): Pool {
    let pool = this.#pools.get(origin);
    if (!pool) {
      pool = new Pool(origin, { connections: CONCURRENCY, connectTimeout: TIMEOUT_MS });
      this.#pools.set(origin, pool);
    }
    return pool;
  }
}

function resultOf(status: number): PostResult {
  if (status >= 200 && status < 300) return { kind: "ok" };
  if (status === 410) return { kind: "gone" };
  if (status === 429 || status >= 500) return { kind: "retry", reason: `status ${status}` };
  return { kind: "failed", reason: `status ${status}` };
}
