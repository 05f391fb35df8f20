/*
 * The backend of the conformance suite: told by the calls themselves what to answer, it remembers what it was called with.
 *
 * The suite runs against a gateway on this machine. To run it against a real API: start this file where AWS reaches it by https
 * (`PORT=8000 npx jiti test/aws/conformance/backend.ts` behind whatever gives it a certificate), make an API with
 * `defineGateway({ …, target: "https://<backend>/ws", routes: { custom: "https://<backend>/ws/custom" } })` and `sallyport gateway apply`, and set
 * SALLYPORT_AWS_URL=wss://<api>.execute-api.<region>.amazonaws.com/<stage> and SALLYPORT_AWS_BACKEND=https://<backend>.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/** A call as it arrived. */
export interface Recorded {
  readonly kind: string;
  readonly method: string;
  /** Path and query. */
  readonly url: string;
  /** Names and values in turn, as they came. */
  readonly rawHeaders: readonly string[];
  readonly body: string;
}

/** What a call asks to be answered. */
export interface Wanted {
  readonly status?: number;
  readonly body?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly delayMs?: number;
}

export class ConformanceBackend {
  readonly #calls = new Map<string, Recorded[]>();
  /** Connection id → the case that it belongs to. */
  readonly #cases = new Map<string, string>();
  readonly #server: Server;

  private constructor() {
    this.#server = createServer((request, response) => void this.#answer(request, response));
  }

  static async start(port = 0, host = "127.0.0.1"): Promise<ConformanceBackend> {
    const backend = new ConformanceBackend();
    await new Promise<void>((resolve) => backend.#server.listen(port, host, resolve));
    return backend;
  }

  get origin(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks).toString("utf8");
    const { method = "", url = "", rawHeaders, headers } = request;
    const { pathname, searchParams } = new URL(url, "http://backend");
    const asked = /^\/calls\/(\w+)$/.exec(pathname)?.[1];
    if (asked !== undefined) {
      response
        .writeHead(200, { "content-type": "application/json" })
        .end(JSON.stringify(this.#calls.get(asked) ?? []));
      return;
    }
    const kind = pathname.split("/").at(-1) ?? "";
    const connection = String(headers.connectionid ?? "");
    const named = searchParams.get("case");
    if (named !== null) this.#cases.set(connection, named);
    const name = this.#cases.get(connection) ?? "";
    const calls = this.#calls.get(name) ?? [];
    calls.push({ kind, method, url, rawHeaders, body });
    this.#calls.set(name, calls);
    const wanted = kind === "connect" ? ofQuery(searchParams) : ofMessage(body);
    if (wanted.delayMs) await sleep(wanted.delayMs);
    response.writeHead(wanted.status ?? 200, wanted.headers ?? {}).end(wanted.body ?? "");
  }
}

function ofQuery(query: URLSearchParams): Wanted {
  return JSON.parse(query.get("answer") ?? "{}") as Wanted;
}

function ofMessage(body: string): Wanted {
  try {
    return (JSON.parse(body) as { answer?: Wanted } | null)?.answer ?? {};
  } catch {
    return { body: "not JSON" };
  }
}

if (process.argv[1]?.endsWith("conformance/backend.ts")) {
  await ConformanceBackend.start(Number(process.env.PORT ?? 8000), "0.0.0.0");
  console.log("The backend of the conformance suite listens.");
}
