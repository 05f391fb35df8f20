import type { WebSocketLike } from "../src/client/link.ts";

type Listener = (event: { readonly type: string; readonly data?: unknown }) => void;

/** A WebSocket without a network, as an app can pass one to the client. A test plays the server with `emit()`. */
export class ManualWebSocket implements WebSocketLike {
  static opened: ManualWebSocket[] = [];
  readonly url: string;
  readonly sent: string[] = [];
  readyState = 0;
  isClosed = false;
  readonly #listeners: [type: string, listener: Listener][] = [];

  constructor(url: string) {
    this.url = url;
    ManualWebSocket.opened.push(this);
  }

  send(text: string): void {
    this.sent.push(text);
  }

  close(): void {
    this.isClosed = true;
  }

  addEventListener(type: string, listener: Listener): void {
    this.#listeners.push([type, listener]);
  }

  emit(type: string, data?: unknown): void {
    if (type === "open") this.readyState = 1;
    if (type === "close") this.readyState = 3;
    for (const [name, listener] of this.#listeners) if (name === type) listener({ type, data });
  }
}
