import { element } from "./elements.ts";

/** The messages above the composer: denials, and notices about failed actions. */
export class Banners {
  readonly #rejection = element("rejection", HTMLElement);
  readonly #words = element("rejection-words", HTMLElement);
  readonly #trace = element("rejection-trace", HTMLElement);
  readonly #reference = element("rejection-reference", HTMLElement);
  readonly #copy = element("copy-reference", HTMLButtonElement);
  readonly #notice = element("notice", HTMLElement);

  constructor() {
    this.#copy.addEventListener("click", () => void this.#copyReference());
  }

  /** @param reference reference of the decision, or an empty string */
  showDenial(words: string, reference: string): void {
    this.clear();
    this.#words.textContent = words;
    this.#reference.textContent = reference;
    this.#trace.hidden = reference === "";
    this.#copy.textContent = "Copy";
    this.#rejection.hidden = false;
  }

  notify(words: string): void {
    this.clear();
    this.#notice.textContent = words;
    this.#notice.hidden = false;
  }

  clear(): void {
    this.#rejection.hidden = true;
    this.#notice.hidden = true;
  }

  async #copyReference(): Promise<void> {
    try {
      await navigator.clipboard.writeText(this.#reference.textContent ?? "");
      this.#copy.textContent = "Copied";
    } catch {
      getSelection()?.selectAllChildren(this.#reference);
    }
  }
}
