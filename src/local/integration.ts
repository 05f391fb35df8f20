import { setImmediate as nextTurn } from "node:timers/promises";
import { Agent } from "undici";
import { MAX_MESSAGE_BYTES } from "../protocol/quotas.ts";
import { settledWithin } from "./grace.ts";
import { type GatewayEvent, type GatewayIdentity, integrationHeaders } from "./integration-headers.ts";

/** What came of an integration. `body` is undefined when it was over 128 KB, which no frame could carry. */
export type Outcome =
  | {
      readonly kind: "answered";
      readonly status: number;
      readonly body: Buffer | undefined;
      /** The answer's `Sec-WebSocket-Protocol`. */
      readonly subprotocol: string | undefined;
    }
  | { readonly kind: "timed out" }
  | { readonly kind: "unreachable"; readonly error: unknown };

/** Where each route's requests go. */
export interface IntegrationUrls {
  /** At least one; each ends with a slash. */
  readonly targets: readonly string[];
  readonly routes: Readonly<Record<string, string>>;
}

/** Runs HTTP_PROXY integrations: one POST per event, never retried. */
export class Integrations {
  readonly #urls: IntegrationUrls;
  readonly #gateway: GatewayIdentity;
  readonly #timeoutMs: number;
  /** As many sockets as there are events under way: one client's must not wait for another's. */
  readonly #agent = new Agent({ headersTimeout: 0, bodyTimeout: 0 });
  readonly #running = new Set<Promise<Outcome>>();
  #turn = 0;
  #closed = false;

  constructor(urls: IntegrationUrls, gateway: GatewayIdentity, timeoutMs: number) {
    this.#urls = urls;
    this.#gateway = gateway;
    this.#timeoutMs = timeoutMs;
  }

  /** Never rejects. The request has been handed to the HTTP client when this returns its promise. */
  async run(event: GatewayEvent): Promise<Outcome> {
    if (this.#closed) return { kind: "unreachable", error: new Error("The local gateway is closed.") };
    const running = this.#deliver(event);
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }

  /** Runs nothing new, waits up to `graceMs` for what is running, then cuts it. */
  async close(graceMs: number): Promise<void> {
    const deadline = Date.now() + graceMs;
    while (this.#running.size > 0 && Date.now() < deadline) {
      await settledWithin([...this.#running], deadline - Date.now());
      // What has just been answered may start a $disconnect.
      await nextTurn();
    }
    this.#closed = true;
    await this.#agent.destroy();
  }

  /** To the next target whose turn it is. One that refused the connection has seen nothing of the event. */
  async #deliver(event: GatewayEvent): Promise<Outcome> {
    const { targets } = this.#urls;
    const first = this.#turn++;
    for (let tried = 1; ; tried++) {
      const target = targets[(first + tried) % targets.length] ?? "";
      const outcome = await this.#post(event, this.#urlOf(event, target));
      const isRefused = outcome.kind === "unreachable" && codeOf(outcome.error) === "ECONNREFUSED";
      if (!isRefused || tried === targets.length) return outcome;
    }
  }

  async #post(event: GatewayEvent, url: URL): Promise<Outcome> {
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(), this.#timeoutMs);
    try {
      const answer = await this.#agent.request({
        origin: url.origin,
        path: url.pathname + url.search,
        method: "POST",
        headers: integrationHeaders(event, this.#gateway),
        body: event.kind === "message" ? event.body : null,
        signal: abort.signal,
      });
      const offered = answer.headers["sec-websocket-protocol"];
      return {
        kind: "answered",
        status: answer.statusCode,
        body: await readAtMost(answer.body, MAX_MESSAGE_BYTES),
        subprotocol: Array.isArray(offered) ? offered[0] : offered,
      };
    } catch (error) {
      return abort.signal.aborted ? { kind: "timed out" } : { kind: "unreachable", error };
    } finally {
      clearTimeout(timer);
    }
  }

  #urlOf(event: GatewayEvent, target: string): URL {
    const { routes } = this.#urls;
    if (event.kind !== "message") {
      const url = new URL(target + event.kind);
      if (event.kind === "connect") url.search = event.client.query;
      return url;
    }
    return new URL(routes[event.routeKey] ?? `${target}default`);
  }
}

function codeOf(error: unknown): unknown {
  return (error as { code?: unknown } | null)?.code;
}

async function readAtMost(body: AsyncIterable<Buffer>, maxBytes: number): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > maxBytes) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
