import { once } from "node:events";
import { createServer, connect as dial, type Server, type Socket } from "node:net";

/** Forwards TCP connections to a server and simulates network failures. Listens on 127.0.0.1. */
export class TcpProxy {
  /** The server that new connections are forwarded to. */
  target: { readonly port: number; readonly host: string };
  /** Number of accepted connections. */
  accepted = 0;
  readonly port: number;
  #server: Server;
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  /** Client sockets of the connections that {@link forget} dropped. */
  readonly #forgotten = new Set<Socket>();

  private constructor(target: { readonly port: number; readonly host: string }, server: Server) {
    this.target = target;
    this.#server = server;
    this.port = (server.address() as { port: number }).port;
    server.on("connection", this.#accept);
  }

  static async open(target: URL): Promise<TcpProxy> {
    const server = createServer();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return new TcpProxy({ port: Number(target.port), host: target.hostname }, server);
  }

  /** Returns a connection string that goes through the proxy. */
  through(source: string): string {
    const url = new URL(source);
    url.hostname = "127.0.0.1";
    url.port = String(this.port);
    return url.href;
  }

  /**
   * Discards all data of the open connections, without closing their client sockets. New
   * connections work.
   */
  forget(): void {
    for (const [client, backend] of this.#pairs) {
      client.unpipe();
      backend.unpipe();
      client.resume();
      backend.destroy();
      this.#forgotten.add(client);
    }
    this.#pairs.clear();
  }

  /**
   * Discards what the server sends on the open connections. Data from clients is still forwarded.
   */
  dropAnswers(): void {
    for (const [client, backend] of this.#pairs) {
      backend.unpipe(client);
      backend.resume();
    }
  }

  /** Resets the open connections. */
  cut(): void {
    for (const client of this.#forgotten) client.destroy();
    this.#forgotten.clear();
    for (const [client, backend] of this.#pairs) {
      client.resetAndDestroy();
      backend.destroy();
    }
    this.#pairs.clear();
  }

  /** Resets the open connections and refuses new ones until {@link listen} is called. */
  async refuse(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.cut();
    await closed;
  }

  /** Accepts connections again, on the same port. */
  async listen(): Promise<void> {
    this.#server = createServer(this.#accept);
    this.#server.listen(this.port, "127.0.0.1");
    await once(this.#server, "listening");
  }

  async close(): Promise<void> {
    this.cut();
    if (this.#server.listening) await new Promise((resolve) => this.#server.close(resolve));
  }

  readonly #accept = (client: Socket): void => {
    this.accepted++;
    const backend = dial(this.target.port, this.target.host);
    const pair = [client, backend] as const;
    this.#pairs.add(pair);
    client.pipe(backend).pipe(client);
    for (const socket of pair) {
      socket.on("error", () => undefined);
      socket.on("close", () => {
        // The client socket of a forgotten connection stays open.
        if (!this.#pairs.delete(pair)) return;
        for (const other of pair) other.destroy();
      });
    }
  };
}
