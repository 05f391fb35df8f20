import WebSocket from "ws";

/** The header that identifies the user of a token request. */
export const USER_HEADER = "x-bench-user";
/**
 * Maximum time of a call, in milliseconds. An event waits for up to 5 s in a queue and for up to
 * 5.5 s for a statement. The rest allows for a backlog of messages in the process.
 */
const CALL_TIMEOUT_MS = 15_000;
/** Share of calls that are replaced by a disconnect. */
const DISCONNECT_SHARE = 0.01;
const ROOMS = 200;

interface CallResult {
  readonly ok: boolean;
  readonly status: number;
}

/** The result of a call if the socket was closed before the response. */
const CLOSED: CallResult = { ok: false, status: 0 };

/** A user with one socket that reconnects after it was closed. */
export class SoakClient {
  readonly #user: string;
  readonly #url: string;
  readonly #appUrl: string;
  readonly #text: string;
  readonly #pending = new Map<number, (result: CallResult) => void>();
  #socket: WebSocket | undefined;
  #connecting: Promise<void> | undefined;
  #isPaused = false;
  #lastId = 0;
  /** Number of successful calls. */
  succeeded = 0;
  /**
   * Number of calls that were denied with 403, or that ended because the connection was closed.
   */
  denied = 0;

  /** @param text the text that the client sends to its channel */
  constructor(user: string, { url, appUrl, text }: { url: string; appUrl: string; text: string }) {
    this.#user = user;
    this.#url = url;
    this.#appUrl = appUrl;
    this.#text = text;
  }

  get user(): string {
    return this.#user;
  }

  get isConnected(): boolean {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  connect(): Promise<void> {
    this.#connecting ??= this.#connect().finally(() => {
      this.#connecting = undefined;
    });
    return this.#connecting;
  }

  /**
   * Stops reading from the socket for a time, in milliseconds. Ends the pending calls as closed.
   */
  stopReading(ms: number): void {
    const socket = this.#socket;
    if (!socket || socket.readyState !== WebSocket.OPEN || this.#isPaused) return;
    this.#isPaused = true;
    this.#closePendingCalls();
    socket.pause();
    setTimeout(() => {
      this.#isPaused = false;
      socket.resume();
    }, ms);
  }

  /**
   * Calls a handler, or connects if the client is disconnected. Sometimes disconnects instead.
   *
   * @throws Error if the call times out, or fails with a status other than 403
   */
  async callOrReconnect(handler: string): Promise<void> {
    if (this.#isPaused) return;
    if (!this.#socket) return this.connect();
    if (Math.random() < DISCONNECT_SHARE) return this.#socket.close();
    const { ok, status } = await this.#call(handler);
    if (ok) this.succeeded++;
    else if (status === 0 || status === 403) this.denied++;
    else throw new Error(`${handler}: ${status}`);
  }

  async #connect(): Promise<void> {
    const headers = { [USER_HEADER]: this.#user };
    const response = await fetch(`${this.#appUrl}/api/ws-token`, { method: "POST", headers });
    const { token } = (await response.json()) as { token: string };
    if (response.status !== 200) throw new Error(`token: ${response.status}`);
    const socket = new WebSocket(`${this.#url}?ws_token=${token}`, { headers });
    socket.on("message", (data) => {
      const { id, ok, status } = JSON.parse(data.toString()) as { id?: number; ok: boolean; status: number };
      if (id !== undefined) this.#pending.get(id)?.({ ok, status });
    });
    socket.on("close", () => {
      if (this.#socket !== socket) return;
      this.#socket = undefined;
      this.#closePendingCalls();
    });
    await new Promise<void>((resolve, reject) => {
      socket.once("open", resolve);
      socket.once("unexpected-response", (_request, { statusCode }) => {
        socket.terminate();
        // The permission can be revoked between the token and the handshake.
        if (statusCode === 403) resolve();
        else reject(new Error(`connect: ${statusCode}`));
      });
      socket.on("error", () => resolve());
    });
    if (socket.readyState === WebSocket.OPEN) this.#socket = socket;
  }

  #call(handler: string): Promise<CallResult> {
    const socket = this.#socket;
    if (!socket) return Promise.resolve(CLOSED);
    const id = ++this.#lastId;
    const room = `rooms/${Math.floor(Math.random() * ROOMS)}`;
    const body = handler === "say" ? { text: this.#text } : { room };
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(new Error(`${handler}: no response for ${CALL_TIMEOUT_MS / 1000} s`));
      }, CALL_TIMEOUT_MS);
      this.#pending.set(id, (result) => {
        clearTimeout(timer);
        this.#pending.delete(id);
        resolve(result);
      });
      socket.send(JSON.stringify({ ...body, handler, id }));
    });
  }

  #closePendingCalls(): void {
    for (const complete of this.#pending.values()) complete(CLOSED);
  }
}
