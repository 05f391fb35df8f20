import type { ChatMessage } from "../messages.ts";
import { element, make } from "./elements.ts";

interface Shown {
  readonly message: ChatMessage;
  readonly item: HTMLLIElement;
}

/** Maximum number of messages in the history of the server. */
const HISTORY = 50;

/** Maximum number of messages on the page. Older messages are removed. */
const MOST_SHOWN = 400;
/** Maximum time between messages of one author that share a header, in milliseconds. */
const TOGETHER_MS = 5 * 60_000;
/** Maximum distance from the end at which the list scrolls to new messages, in pixels. */
const NEAR_PX = 80;
const HUES = 6;

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const calendar = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });

/** The messages of the current room, by id, oldest first. */
export class MessageList {
  readonly #scroller = element("scroller", HTMLElement);
  readonly #list = element("messages", HTMLOListElement);
  readonly #empty = element("empty", HTMLElement);
  readonly #toNewest = element("to-newest", HTMLButtonElement);
  readonly #onDelete: (id: number) => Promise<void>;
  readonly #deleted = new Set<number>();
  #shown: Shown[] = [];
  #myId = "";
  #canDelete = false;
  #isFollowing = true;

  constructor(onDelete: (id: number) => Promise<void>) {
    this.#onDelete = onDelete;
    this.#toNewest.addEventListener("click", () => this.#scrollToEnd());
    this.#scroller.tabIndex = 0;
    this.#scroller.addEventListener("scroll", () => {
      this.#isFollowing = this.#isAtEnd();
      if (this.#isFollowing) this.#toNewest.hidden = true;
    });
    // When the keyboard of a phone makes the list smaller, the newest message stays visible.
    new ResizeObserver(() => {
      if (this.#isFollowing) this.#scrollToEnd();
    }).observe(this.#scroller);
  }

  /** Sets the id of the user, and whether the user can delete messages. */
  viewAs(myId: string, canDelete: boolean): void {
    this.#myId = myId;
    this.#canDelete = canDelete;
    for (const { message, item } of this.#shown) this.#adapt(item, message);
  }

  /** Removes all messages, for example before the history of another room is loaded. */
  clear(): void {
    this.#shown = [];
    this.#deleted.clear();
    this.#isFollowing = true;
    this.#list.replaceChildren();
    this.#empty.hidden = true;
    this.#toNewest.hidden = true;
  }

  /**
   * Returns the ids on the page. Call it before a request for the history, and pass the result to
   * `show`.
   */
  ids(): ReadonlySet<number> {
    return new Set(this.#shown.map(({ message }) => message.id));
  }

  /**
   * Shows the history of the server. A message that was on the page before the request and is not
   * in the history was deleted, unless it is older than the history. Messages that were received
   * during the request are kept.
   *
   * @param shownBefore ids that were on the page before the request
   */
  show(history: readonly ChatMessage[], shownBefore: ReadonlySet<number>): void {
    const oldest = history.length < HISTORY ? 0 : (history[0]?.id ?? 0);
    const known = new Set(history.map(({ id }) => id));
    for (const id of shownBefore) if (id >= oldest && !known.has(id)) this.#take(id);
    for (const message of history) this.#place(message);
    this.#arrange();
    if (this.#isFollowing) this.#scrollToEnd();
  }

  add(message: ChatMessage): void {
    const follow = this.#isFollowing || message.user_id === this.#myId;
    this.#place(message);
    this.#arrange();
    if (follow) this.#scrollToEnd();
    else this.#toNewest.hidden = false;
  }

  remove(id: number): void {
    this.#deleted.add(id);
    this.#take(id);
    this.#arrange();
  }

  #place(message: ChatMessage): void {
    if (this.#deleted.has(message.id)) return;
    const after = this.#shown.findLastIndex((shown) => shown.message.id <= message.id);
    if (this.#shown[after]?.message.id === message.id) return;
    const item = this.#render(message);
    this.#shown.splice(after + 1, 0, { message, item });
    if (this.#shown.length > MOST_SHOWN) this.#shown.shift()?.item.remove();
  }

  #take(id: number): void {
    this.#shown.find(({ message }) => message.id === id)?.item.remove();
    this.#shown = this.#shown.filter(({ message }) => message.id !== id);
  }

  #render(message: ChatMessage): HTMLLIElement {
    const item = make("li", { className: "message", testId: "message" });
    item.dataset.id = String(message.id);
    const avatar = make("span", { className: "avatar", text: [...message.username][0] ?? "?" });
    avatar.dataset.hue = String(hueOf(message.user_id));
    avatar.ariaHidden = "true";
    const head = make("p", { className: "head" });
    const at = new Date(message.created_at);
    const time = make("time", { text: Number.isNaN(at.getTime()) ? "" : clock.format(at) });
    time.dateTime = message.created_at;
    time.title = at.toLocaleString();
    head.append(make("strong", { text: message.username, testId: "message-author" }), " ", time);
    const body = make("div", { className: "body" });
    body.append(make("p", { className: "text", text: message.message, testId: "message-text", dir: "auto" }));
    item.append(avatar, head, body);
    this.#adapt(item, message);
    return item;
  }

  #adapt(item: HTMLLIElement, message: ChatMessage): void {
    item.classList.toggle("own", message.user_id === this.#myId);
    const present = item.querySelector("button");
    if (!this.#canDelete) present?.remove();
    else if (!present) {
      const button = make("button", { className: "delete", text: "Delete", testId: "delete" });
      button.type = "button";
      button.ariaLabel = `Delete the message of ${message.username}`;
      button.addEventListener("click", () => {
        // The list gets the focus, because the button is removed with the message.
        button.disabled = true;
        this.#list.parentElement?.focus({ preventScroll: true });
        void this.#onDelete(message.id).finally(() => {
          button.disabled = false;
        });
      });
      item.querySelector(".body")?.append(button);
    }
  }

  /** Sorts the items, adds the days, and groups messages under one header. */
  #arrange(): void {
    for (const day of this.#list.querySelectorAll(".day")) day.remove();
    let before: ChatMessage | undefined;
    let place: Element | null = this.#list.firstElementChild;
    for (const { message, item } of this.#shown) {
      if (place === item) place = item.nextElementSibling;
      else this.#list.insertBefore(item, place);
      const isNewDay = dayOf(message) !== dayOf(before);
      item.classList.toggle("follows", !isNewDay && before !== undefined && areTogether(before, message));
      if (isNewDay) item.before(make("li", { className: "day", text: dayOf(message) }));
      before = message;
    }
    this.#empty.hidden = this.#shown.length > 0;
  }

  #isAtEnd(): boolean {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    return scrollHeight - scrollTop - clientHeight < NEAR_PX;
  }

  #scrollToEnd(): void {
    this.#isFollowing = true;
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#toNewest.hidden = true;
  }
}

function areTogether(first: ChatMessage, second: ChatMessage): boolean {
  const apart = Date.parse(second.created_at) - Date.parse(first.created_at);
  return first.user_id === second.user_id && apart < TOGETHER_MS;
}

function dayOf(message: ChatMessage | undefined): string {
  if (!message) return "";
  const at = new Date(message.created_at);
  if (Number.isNaN(at.getTime())) return "";
  const today = new Date();
  if (at.toDateString() === today.toDateString()) return "Today";
  today.setDate(today.getDate() - 1);
  return at.toDateString() === today.toDateString() ? "Yesterday" : calendar.format(at);
}

function hueOf(userId: string): number {
  let sum = 0;
  for (let index = 0; index < userId.length; index++) sum = (sum * 31 + userId.charCodeAt(index)) >>> 0;
  return sum % HUES;
}
