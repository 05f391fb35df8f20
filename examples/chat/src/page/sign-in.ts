import { ApiError, signIn } from "./api.ts";
import { element } from "./elements.ts";

const DEMO_PASSWORD = "sallyport-demo";

/** The sign-in form. */
export class SignIn {
  readonly #entrance = element("entrance", HTMLElement);
  readonly #form = element("sign-in-form", HTMLFormElement);
  readonly #email = element("email", HTMLInputElement);
  readonly #password = element("password", HTMLInputElement);
  readonly #button = element("sign-in", HTMLButtonElement);
  readonly #error = element("sign-in-error", HTMLElement);
  readonly #onSignedIn: () => Promise<void>;

  constructor(onSignedIn: () => Promise<void>) {
    this.#onSignedIn = onSignedIn;
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#submit();
    });
    element("demo-accounts", HTMLElement).addEventListener("click", ({ target }) => {
      const account = target instanceof Element ? target.closest<HTMLElement>("[data-email]") : null;
      if (!account) return;
      this.#email.value = account.dataset.email ?? "";
      this.#password.value = DEMO_PASSWORD;
      this.#say("");
      this.#button.focus();
    });
  }

  /** @param words message above the form. Default: no message */
  show(words = ""): void {
    this.#entrance.hidden = false;
    this.#password.value = "";
    this.#say(words);
    this.#email.focus();
  }

  hide(): void {
    this.#entrance.hidden = true;
  }

  async #submit(): Promise<void> {
    if (this.#button.disabled) return;
    const empty = [this.#email, this.#password].find(({ value }) => value.trim() === "");
    if (empty) {
      this.#say("Enter your e-mail address and your password.");
      empty.focus();
      return;
    }
    this.#say("");
    this.#button.disabled = true;
    try {
      await signIn(this.#email.value.trim(), this.#password.value);
      await this.#onSignedIn();
    } catch (error) {
      this.#say(error instanceof ApiError ? error.message : "The server returned an invalid response.");
      if (!(error instanceof ApiError)) throw error;
      if (error.status === 401) this.#password.select();
    } finally {
      this.#button.disabled = false;
    }
  }

  #say(words: string): void {
    this.#error.textContent = words;
    this.#error.hidden = words === "";
  }
}
