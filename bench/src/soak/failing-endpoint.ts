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

/** Forwards calls to a Management API, and answers some of them itself as an API does that fails. Listens on 127.0.0.1. */
export class FailingEndpoint {
  /** The status of the calls that it answers itself, and their share from 0 to 1. */
  failure: { readonly status: number; readonly share: number } | undefined;
  /** Calls that it has answered itself. */
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
    server.on("request", (call, answer) => this.#forward(call, answer));
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

  #forward(call: IncomingMessage, answer: ServerResponse): void {
    if (this.failure && Math.random() < this.failure.share) {
      this.failed++;
      call.resume();
      answer.writeHead(this.failure.status, { "content-type": "application/json" }).end("{}");
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
      (response) => {
        answer.writeHead(response.statusCode ?? 502, response.headers);
        response.pipe(answer);
      },
    );
    forwarded.on("error", () => answer.destroy());
    call.pipe(forwarded);
  }
}
