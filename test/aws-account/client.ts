import type { IncomingMessage } from "node:http";
import { type ClientOptions, WebSocket } from "ws";
import { stopwatch, within } from "./timing.ts";

/** The time limit of what the checks wait for, in milliseconds. */
const LIMIT_MS = 20_000;

/** What a client saw instead of an open connection. */
export interface Refusal {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
}

export interface Closing {
  readonly code: number;
  readonly reason: string;
}

/** A WebSocket client that keeps its messages until they are read. */
export class Client {
  readonly socket: WebSocket;
  /** Resolves with what the client saw if the connection was not opened, or with undefined. */
  readonly refusal: Promise<Refusal | undefined>;
  readonly closing: Promise<Closing>;
  /** Whether the connection was opened. */
  hasOpened = false;
  readonly #messages: string[] = [];
  #arrived = () => {};

  constructor(url: string, protocols: readonly string[] = [], options: ClientOptions = {}) {
    this.socket = new WebSocket(url, [...protocols], options);
    this.socket.on("message", (data) => {
      this.#messages.push(String(data));
      this.#arrived();
    });
    this.closing = new Promise((resolve) => {
      this.socket.once("close", (code, reason) => resolve({ code, reason: String(reason) }));
    });
    this.refusal = new Promise((resolve, reject) => {
      this.socket.once("open", () => {
        this.hasOpened = true;
        resolve(undefined);
      });
      this.socket.once("unexpected-response", (_request, { statusCode: status = 0, headers }) => {
        this.socket.terminate();
        resolve({ status, headers });
      });
      this.socket.on("error", reject);
    });
    this.refusal.catch(() => undefined);
  }

  /** Sends a text, or an object as JSON. */
  send(message: string | object): void {
    this.socket.send(typeof message === "string" ? message : JSON.stringify(message));
  }

  /** Sends a text as frames of at most `frameBytes` bytes. The text contains ASCII only. */
  sendFrames(text: string, frameBytes: number): void {
    for (let from = 0; from < text.length; from += frameBytes) {
      this.socket.send(text.slice(from, from + frameBytes), { fin: from + frameBytes >= text.length });
    }
  }

  /** Returns the next message. @throws Error if none arrives in time, or the connection is closed */
  async next(limitMs = LIMIT_MS): Promise<string> {
    const closed = this.closing.then(({ code, reason }) => {
      throw new Error(`The connection was closed with ${code} "${reason}" instead of a message.`);
    });
    closed.catch(() => undefined);
    const arrives = new Promise<void>((resolve) => {
      this.#arrived = resolve;
    });
    if (this.#messages.length === 0) await within(limitMs, "message", Promise.race([arrives, closed]));
    return this.#messages.shift() ?? "";
  }

  /** Sends a message and returns the next one. */
  async ask(message: string | object, limitMs = LIMIT_MS): Promise<string> {
    this.send(message);
    return this.next(limitMs);
  }

  /** Returns how the connection is closed, and the milliseconds until then. */
  async closed(limitMs = LIMIT_MS): Promise<Closing & { readonly tookMs: number }> {
    const elapsed = stopwatch();
    const closing = await within(limitMs, "close", this.closing);
    return { ...closing, tookMs: elapsed() };
  }

  /** Returns the number of messages that arrived and were not read. */
  get unread(): number {
    return this.#messages.length;
  }
}
