import {
  CallError,
  connect,
  type Denial,
  type RevokedNotice,
  type Socket,
  type SocketState,
} from "sallyport/client";
import type { ChatView } from "../chat-view.ts";
import type { ChatMessage } from "../messages.ts";
import { ApiError, type Config, type Me, me } from "./api.ts";
import { Banners } from "./banners.ts";
import { Composer } from "./composer.ts";
import { element } from "./elements.ts";
import { MessageList } from "./message-list.ts";
import { RoomList } from "./room-list.ts";

const VIEW = "/ws/chat";
/** Maximum time of a call, in milliseconds. */
const PATIENCE = { timeoutMs: 10_000 };

const STATES: Readonly<Record<SocketState, string>> = {
  connecting: "Connecting…",
  open: "Connected",
  reconnecting: "Reconnecting…",
  denied: "No access",
  closed: "Disconnected",
};

/** The messages that the server sends. */
type Pushed =
  | ({ readonly type: "chat_message" } & ChatMessage & Record<string, unknown>)
  | { readonly type: "message_deleted"; readonly id: number; readonly [field: string]: unknown };

/** The chat of a signed-in user, until the user signs out. */
export class Chat {
  readonly #banners = new Banners();
  readonly #composer = new Composer((text) => this.#send(text));
  readonly #messages = new MessageList((id) => this.#delete(id));
  readonly #state = element("state", HTMLElement);
  readonly #who = element("who", HTMLElement);
  readonly #onSignedOut: (words: string) => void;
  #rooms: RoomList | undefined;
  #socket: Socket<ChatView, Pushed> | undefined;
  /** The room on the page. The connection is in it if `#isInside` is true. */
  #slug = "general";
  #isInside = false;
  #personId = "";
  /**
   * Number of the last choice of a room. Rooms change one after the other, and older choices are
   * skipped.
   */
  #choice = 0;
  #moving: Promise<unknown> = Promise.resolve();

  /**
   * @param onSignedOut called with a message if the session has ended without a sign-out on this
   * page
   */
  constructor(onSignedOut: (words: string) => void) {
    this.#onSignedOut = onSignedOut;
    addEventListener("hashchange", () => {
      const slug = location.hash.slice(1);
      if (this.#socket && slug !== this.#slug && this.#rooms?.has(slug)) this.#choose(slug);
    });
  }

  start({ gatewayUrl, rooms }: Config, person: Me): void {
    this.#rooms = new RoomList(rooms, (slug) => this.#choose(slug));
    this.#messages.clear();
    this.#banners.clear();
    // Unsent text is kept if the same user signs in again.
    if (person.id !== this.#personId) this.#composer.clear();
    this.#personId = person.id;
    this.#greet(person);
    const wished = location.hash.slice(1);
    this.#enter(this.#rooms.has(wished) ? wished : (rooms[0]?.slug ?? "general"));
    this.#isInside = false;
    const socket = connect<ChatView, Pushed>({
      url: gatewayUrl,
      token: "/api/ws-token",
      view: VIEW,
      channel: channelOf(this.#slug),
      keepAlive: { handler: "ping" },
    });
    socket.on("state", (state) => this.#follow(state));
    socket.on("message", (message) => this.#receive(message));
    socket.on("denied", (rejection) => this.#rejected(rejection));
    socket.on("revoked", (notice) => this.#revoked(notice));
    this.#socket = socket;
    this.#follow(socket.state);
    this.#composer.focus();
  }

  stop(): void {
    this.#choice++;
    this.#socket?.close();
    this.#socket = undefined;
    this.#messages.clear();
    this.#banners.clear();
  }

  /** Removes the unsent text and the identity of the user. */
  forget(): void {
    this.#composer.clear();
    this.#personId = "";
  }

  #greet({ id, name, email, can }: Me): void {
    this.#who.textContent = name;
    this.#who.title = email;
    this.#messages.viewAs(id, can.moderate);
  }

  #enter(slug: string): void {
    this.#slug = slug;
    this.#rooms?.mark(slug);
    document.title = `${this.#rooms?.titleOf(slug)} · Sallyport chat`;
    history.replaceState(null, "", `#${slug}`);
  }

  #follow(state: SocketState): void {
    this.#state.dataset.state = state;
    this.#state.textContent = STATES[state];
    this.#isInside = state === "open" && this.#socket?.channel === channelOf(this.#slug);
    if (state !== "open") return;
    this.#banners.clear();
    void this.#refreshMe();
    if (this.#isInside) void this.#loadHistory();
  }

  /**
   * Updates the user. Permissions may have changed, or the session may have ended, while
   * disconnected.
   */
  async #refreshMe(): Promise<void> {
    try {
      this.#greet(await me());
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) this.#endLogin();
    }
  }

  async #loadHistory(): Promise<void> {
    const slug = this.#slug;
    const shown = this.#messages.ids();
    try {
      const answer = await this.#socket?.call.fetch_history({}, PATIENCE);
      if (answer && slug === this.#slug) this.#messages.show(answer.messages, shown);
    } catch (error) {
      if (slug === this.#slug) this.#explain(error, "The messages could not be loaded.");
    }
  }

  #receive(pushed: Pushed): void {
    if (pushed.type === "message_deleted") this.#messages.remove(pushed.id);
    else if (pushed.type === "chat_message" && pushed.room === this.#slug) this.#messages.add(pushed);
  }

  #choose(slug: string): void {
    const choice = ++this.#choice;
    if (slug === this.#slug && this.#isInside) {
      this.#banners.clear();
      return;
    }
    this.#moving = this.#moving.then(async () => {
      if (choice === this.#choice && this.#socket) await this.#go(this.#socket, slug);
    });
  }

  async #go(socket: Socket<ChatView, Pushed>, slug: string): Promise<void> {
    if (socket.state !== "open") {
      // Without a connection, no room has to be left, so the page shows the new room immediately.
      if (slug !== this.#slug) this.#messages.clear();
      this.#enter(slug);
      socket.reconnect({ channel: channelOf(slug) });
      return;
    }
    try {
      await this.#join(socket, slug);
      this.#banners.clear();
    } catch (error) {
      // Access was denied or the call failed, so the URL must show the current room.
      history.replaceState(null, "", `#${this.#slug}`);
      if (error instanceof CallError && error.status === 403) {
        const stay = this.#isInside ? ` You are still in ${this.#rooms?.titleOf(this.#slug)}.` : "";
        this.#banners.showDenial(
          `You don't have access to ${this.#rooms?.titleOf(slug)}.${stay} Ask an administrator.`,
          error.reference,
        );
      } else this.#explain(error, "The room could not be changed.");
    }
  }

  async #join(socket: Socket<ChatView, Pushed>, slug: string): Promise<void> {
    await socket.call.join_room({ room: slug }, PATIENCE);
    socket.channel = channelOf(slug);
    if (slug !== this.#slug) this.#messages.clear();
    this.#enter(slug);
    this.#isInside = true;
    await this.#loadHistory();
  }

  /** Sends a message, also after an earlier denial. Returns whether the message was sent. */
  async #send(message: string): Promise<boolean> {
    const socket = this.#socket;
    if (!socket) return false;
    await this.#moving;
    if (socket.state !== "open") socket.reconnect({ channel: channelOf(this.#slug) });
    else if (message === "" && this.#isInside) return false;
    // Stop after one failed connection attempt. The text stays, and the user can send it again.
    const attempt = new AbortController();
    const stop = socket.on("state", (state) => {
      if (state === "reconnecting") attempt.abort(new CallError("There is no connection."));
    });
    try {
      if (socket.state === "open" && !this.#isInside) await this.#join(socket, this.#slug);
      if (message === "") return false;
      await socket.call.send_message({ message }, { ...PATIENCE, signal: attempt.signal });
      this.#banners.clear();
      return true;
    } catch (error) {
      this.#explain(error, "The message was not sent.");
      return false;
    } finally {
      stop();
    }
  }

  async #delete(id: number): Promise<void> {
    try {
      await this.#socket?.call.delete_message({ message_id: id }, PATIENCE);
      this.#messages.remove(id);
    } catch (error) {
      // Another moderator has deleted the message.
      if (!this.#messages.ids().has(id)) return;
      if (error instanceof CallError && error.status === 403) {
        this.#banners.showDenial(
          "You don't have permission to delete this message. Ask an administrator.",
          error.reference,
        );
        void this.#refreshMe();
      } else this.#explain(error, "The message was not deleted.");
    }
  }

  #rejected({ status, error, reference, retryAfterMs = 0 }: Denial): void {
    if (status === 401) this.#endLogin();
    else if (status === 403) this.#noAccess(reference);
    else if (status === 429) {
      const seconds = Math.ceil(retryAfterMs / 1000);
      this.#banners.notify(`Too many attempts. Trying again${seconds ? ` in ${seconds} s` : " soon"}.`);
    } else this.#banners.showDenial(`The connection was rejected: ${error}`, reference);
  }

  #revoked(notice: RevokedNotice): void {
    // Messages are removed from the page when the user loses access to them.
    if (notice.scope === "view") {
      this.#messages.clear();
      this.#noAccess(notice.reference);
      void this.#refreshMe();
    } else if (notice.channel === channelOf(this.#slug)) {
      this.#isInside = false;
      this.#messages.clear();
      this.#noAccess(notice.reference);
    }
  }

  #noAccess(reference: string): void {
    this.#banners.showDenial(
      "You don't have access to this room. Ask an administrator. Press Send to try again.",
      reference,
    );
  }

  /** Displays an error, unless the `denied` event of the socket has already displayed it. */
  #explain(error: unknown, failed: string): void {
    if (!(error instanceof CallError)) {
      reportError(error);
      return;
    }
    const { status, message, reference, sent } = error;
    const isTold = !sent && status !== 0 && status !== 413;
    if (isTold || this.#socket?.state === "denied" || !this.#socket) return;
    if (status === 403) this.#noAccess(reference);
    else if (status === 413) this.#banners.notify("The message is too long.");
    else if (status === 0 && sent) {
      this.#banners.notify(
        "The connection was lost before the response. Check whether your message was sent.",
      );
    } else if (status === 0)
      this.#banners.notify(`${failed} There is no connection. Press Send to try again.`);
    else if (status === 429)
      this.#banners.notify("You sent too many messages. Wait a moment, then try again.");
    else this.#banners.notify(status === 400 ? message : `${failed} ${message}`);
  }

  #endLogin(): void {
    this.#onSignedOut("You have been signed out. Sign in again.");
  }
}

function channelOf(slug: string): string {
  return `rooms/${slug}`;
}
