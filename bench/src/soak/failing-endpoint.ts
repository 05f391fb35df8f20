import { once } from "node:events";
import {
  Agent,
  createServer,
  type IncomingMessage,
  request,
  type Server,
  type ServerResponse,
} from "node:http";
import type { AddressInfo } from "node:net";

/**
 * Forwards calls to a Management API, and returns an error for some of them. Listens on 127.0.0.1.
 */
export class FailingEndpoint {
  /** The status of the failing calls, and their share from 0 to 1. Undefined if no calls fail. */
  failure: { readonly status: number; readonly share: number } | undefined;
  /** Number of calls that failed. */
  failed = 0;
  readonly url: string;
  readonly #target: URL;
  readonly #server: Server;
  readonly #agent = new Agent({ keepAlive: true });

  private constructor(target: URL, server: Server) {
    this.#target = target;
    this.#server = server;
    const { port } = server.address() as AddressInfo;
    this.url = `http://127.0.0.1:${port}${target.pathname}`;
    server.on("request", (call, response) => this.#forward(call, response));
  }

  static async open(target: string): Promise<FailingEndpoint> {
    const server = createServer({ keepAliveTimeout: 60_000 });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return new FailingEndpoint(new URL(target), server);
  }

  close(): void {
    this.#agent.destroy();
    this.#server.closeAllConnections();
    this.#server.close();
  }

  #forward(call: IncomingMessage, response: ServerResponse): void {
    if (this.failure && Math.random() < this.failure.share) {
      this.failed++;
      call.resume();
      response.writeHead(this.failure.status, { "content-type": "application/json" }).end("{}");
      return;
    }
    const { method, headers } = call;
    const { hostname, port } = this.#target;
    const forwarded = request(
      {
        agent: this.#agent,
        hostname,
        port,
        method,
        path: call.url,
        headers: { ...headers, host: this.#target.host },
      },
      (upstream) => {
        response.writeHead(upstream.statusCode ?? 502, upstream.headers);
        upstream.pipe(response);
      },
    );
    forwarded.on("error", () => response.destroy());
    call.pipe(forwarded);
  }
}
