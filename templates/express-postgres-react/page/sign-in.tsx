import type { FormEvent } from "react";

export function SignIn({ signIn }: { readonly signIn: (name: string) => void }) {
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    signIn(String(new FormData(event.currentTarget).get("name")));
  };
  return (
    <main>
      <header>
        <h1>Chat</h1>
        <p id="status">Not signed in</p>
      </header>
      <form onSubmit={submit}>
        <label htmlFor="name">Your name</label>
        <input
          id="name"
          name="name"
          required
          pattern="[a-z][a-z0-9_\-]{0,31}"
          placeholder="ann"
          title="Use lower-case letters, digits, - and _, such as ann"
        />
        <button type="submit">Sign in</button>
      </form>
    </main>
  );
}
