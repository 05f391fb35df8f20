import { element } from "./elements.ts";

/** The form for a new message. It is cleared after the message has been sent. */
export class Composer {
  readonly #form = element("composer-form", HTMLFormElement);
  readonly #text = element("composer", HTMLTextAreaElement);
  readonly #button = element("send", HTMLButtonElement);
  readonly #send: (text: string) => Promise<boolean>;

  /** @param send receives the text, which can be empty, and returns whether it was sent */
  constructor(send: (text: string) => Promise<boolean>) {
    this.#send = send;
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#submit();
    });
    this.#text.addEventListener("keydown", (event) => {
      // While an input method is composing, Enter selects a word.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#form.requestSubmit();
    });
    this.#text.addEventListener("input", () => this.#fit());
  }

  /**
   * Focuses the text on devices with a mouse. On a phone, the keyboard would cover half of the
   * page.
   */
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

  /** Sets the height to that of the text. The style sheet limits it. */
  #fit(): void {
    this.#text.style.height = "auto";
    this.#text.style.height = `${this.#text.scrollHeight + 2}px`;
  }
}
