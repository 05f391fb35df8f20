import { element } from "./elements.ts";

/** Where a message is written. Its text goes only when the message has gone. */
export class Composer {
  readonly #form = element("composer-form", HTMLFormElement);
  readonly #text = element("composer", HTMLTextAreaElement);
  readonly #button = element("send", HTMLButtonElement);
  readonly #send: (text: string) => Promise<boolean>;

  /** @param send gets the text, perhaps empty; true when it has been sent */
  constructor(send: (text: string) => Promise<boolean>) {
    this.#send = send;
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#submit();
    });
    this.#text.addEventListener("keydown", (event) => {
      // While an input method composes, Enter chooses a word.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#form.requestSubmit();
    });
    this.#text.addEventListener("input", () => this.#fit());
  }

  /** Where it brings no keyboard over half of the page. */
  focus(): void {
    if (matchMedia("(pointer: fine)").matches) this.#text.focus();
  }

  clear(): void {
    this.#text.value = "";
    this.#fit();
  }

  async #submit(): Promise<void> {
    if (this.#button.disabled) return;
    this.#lock(true);
    try {
      if (await this.#send(this.#text.value.trim())) this.clear();
    } finally {
      this.#lock(false);
    }
  }

  #lock(locked: boolean): void {
    this.#button.disabled = locked;
    this.#text.readOnly = locked;
    this.#form.ariaBusy = String(locked);
  }

  /** As high as its text; the style sheet says how high at most. */
  #fit(): void {
    this.#text.style.height = "auto";
    this.#text.style.height = `${this.#text.scrollHeight + 2}px`;
  }
}
