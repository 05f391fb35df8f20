import WebSocket from "ws";

/** The header by which the app recognizes the user of a token request. */
export const LOGIN = "x-bench-user";
/**
 * How long an answer may take, in milliseconds. An event waits for up to 5 s for its turn or a connection, and then for up to 5.5 s for a
 * statement. The rest is for a process that has many messages to catch up on.
 */
const ANSWER_MS = 15_000;
/** The share of calls in whose place a client disconnects. */
const HANG_UP_SHARE = 0.01;
const ROOMS = 200;
interface Answer {
  readonly ok: boolean;
  readonly status: number;
}

/** The answer of a call whose socket was closed. */
const CLOSED: Answer = { ok: false, status: 0 };

/** A user with one socket, who connects again whenever it is lost. */
export class Person {
  readonly #user: string;
  readonly #url: string;
  readonly #appUrl: string;
  readonly #text: string;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  #socket: WebSocket | undefined;
  #connecting: Promise<void> | undefined;
  #isSilent = false;
  #last = 0;
  /** Calls that were answered with ok, and those that were answered with 403 or not at all, because the connection was closed. */
  answered = 0;
  denied = 0;

  /** @param text what it sends to its room */
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

  /** Stops reading what the server sends, for a time. Calls that wait for an answer end without one. */
  stopReading(ms: number): void {
    const socket = this.#socket;
    if (!socket || socket.readyState !== WebSocket.OPEN || this.#isSilent) return;
    this.#isSilent = true;
    this.#endCalls();
    socket.pause();
    setTimeout(() => {
      this.#isSilent = false;
      socket.resume();
    }, ms);
  }

  /**
   * Makes a call, or disconnects now and then.
   *
   * @throws Error if it is not answered in time, or with a status that neither a lost permission nor a lost socket explains
   */
  async live(handler: string): Promise<void> {
    if (this.#isSilent) return;
    if (!this.#socket) return this.connect();
    if (Math.random() < HANG_UP_SHARE) return this.#socket.close();
    const { ok, status } = await this.#call(handler);
    if (ok) this.answered++;
    else if (status === 0 || status === 403) this.denied++;
    else throw new Error(`${handler}: ${status}`);
  }

  async #connect(): Promise<void> {
    const headers = { [LOGIN]: this.#user };
    const response = await fetch(`${this.#appUrl}/api/ws-token`, { method: "POST", headers });
    const { token } = (await response.json()) as { token: string };
    if (response.status !== 200) throw new Error(`token: ${response.status}`);
    const socket = new WebSocket(`${this.#url}?ws_token=${token}`, { headers });
    socket.on("message", (data) => {
      const { id, ok, status } = JSON.parse(data.toString()) as { id?: number; ok: boolean; status: number };
      if (id !== undefined) this.#waiting.get(id)?.({ ok, status });
    });
    socket.on("close", () => {
      if (this.#socket !== socket) return;
      this.#socket = undefined;
      this.#endCalls();
    });
    await new Promise<void>((resolve, reject) => {
      socket.once("open", resolve);
      socket.once("unexpected-response", (_request, { statusCode }) => {
        socket.terminate();
        // The permission can end between the token and the handshake.
        if (statusCode === 403) resolve();
        else reject(new Error(`connect: ${statusCode}`));
      });
      socket.on("error", () => resolve());
    });
    if (socket.readyState === WebSocket.OPEN) this.#socket = socket;
  }

  #call(handler: string): Promise<Answer> {
    const socket = this.#socket;
    if (!socket) return Promise.resolve(CLOSED);
    const id = ++this.#last;
    const room = `rooms/${Math.floor(Math.random() * ROOMS)}`;
    const fields = handler === "say" ? { text: this.#text } : { room };
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(new Error(`${handler}: no answer for ${ANSWER_MS / 1000} s`));
      }, ANSWER_MS);
      this.#waiting.set(id, (answer) => {
        clearTimeout(timer);
        this.#waiting.delete(id);
        resolve(answer);
      });
      socket.send(JSON.stringify({ ...fields, handler, id }));
    });
  }

  #endCalls(): void {
    for (const answer of this.#waiting.values()) answer(CLOSED);
  }
}
