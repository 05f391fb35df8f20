/*
 * The backend of the conformance suite. The calls themselves contain the answers that it returns,
 * and it records every call.
 *
 * By default, the suite starts a local gateway. To run it against a real API:
 *
 * 1. Start this file at an https URL that AWS can reach: `PORT=8000 npx jiti
 * test/aws/conformance/backend.ts`, behind a server with a certificate. Anyone who knows the random
 * name of a case can read what it recorded, including the secret of the gateway. Stop it
 * afterwards.
 * 2. Create an API with `defineGateway({ name: "conformance", region: "eu-west-1", target:
 * "https://<backend>/ws", routes: { custom: "https://<backend>/ws/custom" } })` and `sallyport
 * gateway apply`.
 * 3. Run `npx vitest run --project integration test/aws/conformance` with
 * SALLYPORT_AWS_URL=wss://<api>.execute-api.<region>.amazonaws.com/<stage> and
 * SALLYPORT_AWS_BACKEND=https://<backend>. The AWS credentials need the permission
 * `execute-api:ManageConnections`. With a custom domain, also set AWS_REGION and
 * SALLYPORT_AWS_API_ID.
 */
import { EventEmitter, once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";

/** A recorded call. */
export interface Recorded {
  /** The last part of its path: connect, disconnect, default or custom. */
  readonly kind: string;
  readonly method: string;
  /** Path and query. */
  readonly url: string;
  /** Names and values alternate, as they were received. */
  readonly rawHeaders: readonly string[];
  readonly body: string;
  /** Whether its answer has been sent. */
  readonly isAnswered: boolean;
}

/** The field `answer` of a message: how the backend answers it. */
export interface AnswerOptions {
  /** Default: 200. */
  readonly status?: number;
  /** Default: none. */
  readonly body?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Whether the answer waits until the case is released. Default: false. */
  readonly hold?: boolean;
}

/**
 * The query parameters of a client: how the backend answers its `$connect`. `case` is the name of
 * the case.
 */
export interface ConnectAnswerOptions {
  readonly case?: string;
  /** Default: 200. */
  readonly status?: number;
  readonly body?: string;
  /** The subprotocol to return. */
  readonly protocol?: string;
  /** The value of a header `x-own`. */
  readonly own?: string;
  /** `1`: the answer waits until the case is released. Default: it does not wait. */
  readonly hold?: 1;
  /** Status of the answer to its `$disconnect`. Default: 200. */
  readonly disconnect_status?: number;
}

/**
 * How long a reader waits for a call that does not arrive, in milliseconds. Only a failing test
 * waits that long.
 */
const PATIENCE_MS = 60_000;

export class ConformanceBackend {
  readonly #calls = new Map<string, Recorded[]>();
  /** By connection id. */
  readonly #clients = new Map<string, { readonly case: string; readonly disconnectStatus: number }>();
  readonly #news = new EventEmitter().setMaxListeners(0);
  readonly #server: Server;

  private constructor() {
    this.#server = createServer((request, response) => void this.#take(request, response));
  }

  static async start(port = 0, host = "127.0.0.1"): Promise<ConformanceBackend> {
    const backend = new ConformanceBackend();
    backend.#server.listen(port, host);
    await once(backend.#server, "listening");
    return backend;
  }

  get origin(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await text(request);
    const { pathname, searchParams } = new URL(request.url ?? "", "http://backend");
    const released = /^\/release\/([^/]+)$/.exec(pathname)?.[1];
    if (released !== undefined) {
      this.#news.emit(`release ${decodeURIComponent(released)}`);
      response.end();
      return;
    }
    const asked = /^\/calls\/([^/]+)$/.exec(pathname)?.[1];
    if (asked === undefined) return this.#answer(request, response, body, pathname, searchParams);
    const calls = await this.#awaited(decodeURIComponent(asked), searchParams);
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(calls));
  }

  async #answer(
    { method = "", url = "", rawHeaders, headers }: IncomingMessage,
    response: ServerResponse,
    body: string,
    path: string,
    query: URLSearchParams,
  ): Promise<void> {
    const kind = path.split("/").at(-1) ?? "";
    const connectionId = String(headers.connectionid ?? "");
    const named = query.get("case");
    if (named !== null) {
      const disconnectStatus = Number(query.get("disconnect_status") ?? 200);
      this.#clients.set(connectionId, { case: named, disconnectStatus });
    }
    const client = this.#clients.get(connectionId);
    const name = named ?? client?.case ?? connectionId;
    const wanted =
      kind === "disconnect" ? { status: client?.disconnectStatus ?? 200 } : wantedOf(query, body);
    // Listens before it reports the call, because a reader may release the call immediately.
    const released = wanted.hold ? once(this.#news, `release ${name}`) : undefined;
    const call = { kind, method, url, rawHeaders, body, isAnswered: false };
    this.#calls.set(name, [...(this.#calls.get(name) ?? []), call]);
    this.#news.emit("call");
    response.once("finish", () => {
      call.isAnswered = true;
      this.#news.emit("call");
    });
    await released;
    response.writeHead(wanted.status ?? 200, wanted.headers ?? {}).end(wanted.body ?? "");
  }

  /**
   * Returns the calls of a case or connection, as soon as there are `count` of a `kind`. With
   * `answered`, waits for their answers too.
   */
  async #awaited(name: string, query: URLSearchParams): Promise<readonly Recorded[]> {
    const deadline = AbortSignal.timeout(PATIENCE_MS);
    for (;;) {
      const calls = this.#calls.get(this.#clients.get(name)?.case ?? name) ?? [];
      const found = calls.filter(
        ({ kind, isAnswered }) => kind === query.get("kind") && (isAnswered || !query.has("answered")),
      );
      if (!query.has("kind") || found.length >= Number(query.get("count") ?? 1)) return calls;
      await once(this.#news, "call", { signal: deadline }).catch(() => undefined);
      if (deadline.aborted) return calls;
    }
  }
}

/** Returns how to answer a call. A `$connect` has it in its query, a message in its body. */
function wantedOf(query: URLSearchParams, body: string): AnswerOptions {
  if (body === "") {
    const [protocol, own] = [query.get("protocol"), query.get("own")];
    return {
      status: Number(query.get("status") ?? 200),
      body: query.get("body") ?? "",
      headers: {
        ...(protocol === null ? {} : { "sec-websocket-protocol": protocol }),
        ...(own === null ? {} : { "x-own": own }),
      },
      hold: query.has("hold"),
    };
  }
  try {
    return (JSON.parse(body) as { answer?: AnswerOptions } | null)?.answer ?? {};
  } catch {
    return {};
  }
}

if (process.argv[1]?.endsWith("conformance/backend.ts")) {
  const port = Number(process.env.PORT ?? 8000);
  await ConformanceBackend.start(port, "0.0.0.0");
  console.log(`The backend of the conformance suite listens on port ${port}.`);
}
