import { element } from "./elements.ts";

/** The messages above the composer: denials, and notices about failed actions. */
export class Banners {
  readonly #refusal = element("refusal", HTMLElement);
  readonly #words = element("refusal-words", HTMLElement);
  readonly #trace = element("refusal-trace", HTMLElement);
  readonly #reference = element("refusal-reference", HTMLElement);
  readonly #copy = element("copy-reference", HTMLButtonElement);
  readonly #notice = element("notice", HTMLElement);

  constructor() {
    this.#copy.addEventListener("click", () => void this.#copyReference());
  }

  /** @param reference reference of the decision, or an empty string */
  refuse(words: string, reference: string): void {
    this.clear();
    this.#words.textContent = words;
    this.#reference.textContent = reference;
    this.#trace.hidden = reference === "";
    this.#copy.textContent = "Copy";
    this.#refusal.hidden = false;
  }

  notify(words: string): void {
    this.clear();
    this.#notice.textContent = words;
    this.#notice.hidden = false;
  }

  clear(): void {
    this.#refusal.hidden = true;
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
