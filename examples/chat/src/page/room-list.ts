import type { Room } from "./api.ts";
import { element, make } from "./elements.ts";

/** The list of rooms, and the header of the current room. */
export class RoomList {
  readonly #list = element("rooms", HTMLElement);
  readonly #title = element("current-room", HTMLElement);
  readonly #note = element("current-note", HTMLElement);
  readonly #buttons = new Map<string, HTMLButtonElement>();
  readonly #rooms: readonly Room[];

  constructor(rooms: readonly Room[], onChoose: (slug: string) => void) {
    this.#rooms = rooms;
    this.#list.replaceChildren(
      ...rooms.map(({ slug, title, note }) => {
        const button = make("button", { testId: `room-${slug}` });
        button.type = "button";
        button.append(make("span", { text: title }));
        if (note) button.append(make("small", { text: note }));
        button.addEventListener("click", () => onChoose(slug));
        this.#buttons.set(slug, button);
        const item = make("li");
        item.append(button);
        return item;
      }),
    );
  }

  titleOf(slug: string): string {
    return this.#rooms.find((room) => room.slug === slug)?.title ?? slug;
  }

  has(slug: string): boolean {
    return this.#buttons.has(slug);
  }

  mark(current: string): void {
    for (const [slug, button] of this.#buttons) {
      if (slug === current) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
    this.#buttons.get(current)?.scrollIntoView({ block: "nearest", inline: "nearest" });
    this.#title.textContent = this.titleOf(current);
    this.#note.textContent = this.#rooms.find((room) => room.slug === current)?.note ?? "";
  }
}
