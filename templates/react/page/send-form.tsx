import type { FormEvent } from "react";
import { ErrorText } from "./errors.tsx";
import { useCall } from "./sallyport.ts";

export function SendForm() {
  const { call: say, error } = useCall("say");
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = event.currentTarget;
    const text = String(new FormData(form).get("text"));
    // After an error, the text stays in the form.
    say({ text }).then(
      () => form.reset(),
      () => undefined,
    );
  };
  return (
    <>
      <ErrorText error={error} />
      <form onSubmit={submit}>
        <input
          name="text"
          aria-label="Message"
          required
          maxLength={2000}
          placeholder="Message"
          autoComplete="off"
        />
        <button type="submit">Send</button>
      </form>
    </>
  );
}
