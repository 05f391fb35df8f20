"use client";

import { useRouter } from "next/navigation";
import { type FormEvent, useState } from "react";
import { authClient } from "./auth-client.ts";

/** Signs in with an e-mail address and a password, or creates the account. */
export function SignIn() {
  const router = useRouter();
  const [error, setError] = useState("");
  const submit = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const [email, password] = [String(form.get("email")), String(form.get("password"))];
    const button = (event.nativeEvent as SubmitEvent).submitter as HTMLButtonElement | null;
    const { error: failure } =
      button?.value === "sign-up"
        ? await authClient.signUp.email({ email, password, name: email })
        : await authClient.signIn.email({ email, password });
    if (failure) setError(failure.message ?? "The sign-in failed.");
    else router.refresh();
  };
  return (
    <main>
      <header>
        <h1>Chat</h1>
        <p id="status">Not signed in</p>
      </header>
      <form onSubmit={submit}>
        <input name="email" type="email" aria-label="E-mail" required placeholder="ann@example.com" />
        <input
          name="password"
          type="password"
          aria-label="Password"
          required
          minLength={8}
          placeholder="Password"
        />
        <button type="submit" value="sign-in">
          Sign in
        </button>
        <button type="submit" value="sign-up">
          Sign up
        </button>
      </form>
      {error && <p role="alert">{error}</p>}
    </main>
  );
}
