import type { Socket } from "node:net";
import { buildConnector, Client } from "undici";

/** The request of an integration to its backend. */
export interface BackendRequest {
  readonly path: string;
  readonly method: string;
  readonly headers: string[];
  readonly body: Buffer | null;
  readonly signal: AbortSignal;
}

/** The status and headers of an answer, and the result of reading its body. */
export interface BackendAnswer<Body> {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Body;
}

type ReadBody<Body> = (body: AsyncIterable<Buffer>) => Promise<Body>;

/** Error codes of a connection that the other side closed, by FIN or by RST. */
const CLOSED_CODES: ReadonlySet<unknown> = new Set(["UND_ERR_SOCKET", "ECONNRESET", "EPIPE"]);

/**
 * HTTP connections to backends, which are kept for later requests.
 *
 * Each connection carries one request at a time, and there are as many as requests in flight. The
 * request of one client therefore does not wait for that of another.
 */
export class BackendConnections {
  readonly #idle = new Map<string, BackendConnection[]>();
  readonly #all = new Set<BackendConnection>();

  /**
   * Sends a request, and reads the answer by `readBody`.
   *
   * A backend can close a kept connection at any time, also while a request is being sent. If no
   * byte of the answer was received, the request is sent once more on a new connection. Source:
   * RFC 9112, section 9.3.1.
   *
   * A request on a new connection is never repeated, because the backend may have processed it.
   */
  async request<Body>(
    origin: string,
    request: BackendRequest,
    readBody: ReadBody<Body>,
  ): Promise<BackendAnswer<Body>> {
    const kept = this.#idle.get(origin)?.pop();
    try {
      return await this.#requestOn(kept ?? this.#open(origin), request, readBody);
    } catch (error) {
      if (!kept?.closedUnanswered || request.signal.aborted) throw error;
      return await this.#requestOn(this.#open(origin), request, readBody);
    }
  }

  /** Closes every connection, and rejects the requests in flight. */
  async destroy(): Promise<void> {
    this.#idle.clear();
    await Promise.all([...this.#all].map((connection) => connection.destroy()));
  }

  #open(origin: string): BackendConnection {
    const connection = new BackendConnection(origin);
    this.#all.add(connection);
    return connection;
  }

  async #requestOn<Body>(
    connection: BackendConnection,
    request: BackendRequest,
    readBody: ReadBody<Body>,
  ): Promise<BackendAnswer<Body>> {
    let isReusable = false;
    try {
      const answer = await connection.request(request, readBody);
      isReusable = true;
      return answer;
    } finally {
      if (isReusable) this.#keep(connection);
      else {
        this.#all.delete(connection);
        // The connection has no other request, so nothing waits for this.
        void connection.destroy();
      }
    }
  }

  #keep(connection: BackendConnection): void {
    const idle = this.#idle.get(connection.origin) ?? [];
    this.#idle.set(connection.origin, idle);
    idle.push(connection);
  }
}

/**
 * A connection to an origin. The first request opens it, and a later request opens it again if it
 * was closed while idle.
 */
class BackendConnection {
  readonly origin: string;
  /** Whether the last request failed because its reused connection closed without an answer. */
  closedUnanswered = false;
  readonly #client: Client;
  #socket: Socket | undefined;

  constructor(origin: string) {
    this.origin = origin;
    const open = buildConnector({});
    this.#client = new Client(origin, {
      headersTimeout: 0,
      bodyTimeout: 0,
      connect: (options, done) =>
        open(options, (...result) => {
          this.#socket = result[1] ?? undefined;
          done(...result);
        }),
    });
  }

  async request<Body>(
    { path, method, headers, body, signal }: BackendRequest,
    readBody: ReadBody<Body>,
  ): Promise<BackendAnswer<Body>> {
    const socket = this.#socket;
    const bytesRead = socket?.bytesRead;
    try {
      const answer = await this.#client.request({ path, method: method as "POST", headers, body, signal });
      return { status: answer.statusCode, headers: answer.headers, body: await readBody(answer.body) };
    } catch (error) {
      const isSame = socket !== undefined && socket === this.#socket && socket.bytesRead === bytesRead;
      this.closedUnanswered = isSame && CLOSED_CODES.has((error as { code?: unknown } | null)?.code);
      throw error;
    }
  }

  destroy(): Promise<void> {
    return this.#client.destroy();
  }
}
