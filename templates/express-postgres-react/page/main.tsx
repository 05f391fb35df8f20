import { useCallback, useEffect, useState } from "react";
import { createRoot } from "react-dom/client";
import { Chat } from "./chat.tsx";
import { SignIn } from "./sign-in.tsx";
import "./style.css";

interface Session {
  readonly user: string | null;
  readonly url: string | null;
}

async function fetchSession(): Promise<Session> {
  return (await fetch("/api/session")).json();
}

async function sendSession(method: "POST" | "DELETE", body?: object): Promise<void> {
  const response = await fetch("/api/session", {
    method,
    ...(body ? { headers: { "content-type": "application/json" }, body: JSON.stringify(body) } : {}),
  });
  if (!response.ok) alert(`The server answered ${response.status}.`);
}

function App() {
  const [session, setSession] = useState<Session>();
  const load = useCallback(() => fetchSession().then(setSession), []);
  useEffect(() => void load(), [load]);
  if (!session) return <p>Loading…</p>;
  if (session.user === null) return <SignIn signIn={(name) => sendSession("POST", { name }).then(load)} />;
  return <Chat url={session.url} user={session.user} signOut={() => sendSession("DELETE").then(load)} />;
}

createRoot(document.getElementById("root") as HTMLElement).render(<App />);
