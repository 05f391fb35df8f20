"use client";

import { type FormEvent, useCallback, useEffect, useRef, useState } from "react";
import { type CallError, type ClientError, connect, type Socket, type SocketState } from "sallyport/client";
import type { ChatMessage, ChatView } from "../src/chat-view.ts";

interface Props {
  /** The WebSocket URL of API Gateway, or null if it is not known. */
  readonly url: string | null;
  /** The name of the signed-in user for the command line. */
  readonly user: string;
  readonly signOut: () => void;
}

/** The texts of the states of a connection. */
const STATES: Readonly<Record<SocketState, string>> = {
  connecting: "connecting…",
  open: "connected",
  reconnecting: "reconnecting…",
  denied: "no access",
  closed: "not connected",
};

type Message = Extract<ChatMessage, { type: "message" }>;

/** Why the user has no access. */
interface Denial {
  readonly reason: string;
  readonly reference: string | undefined;
  /** Whether a permission is missing. */
  readonly lacksPermission: boolean;
}

export function Chat({ url, user, signOut }: Props) {
  const [error, setError] = useState("");
  const list = useRef<HTMLOListElement>(null);
  const show = useCallback((failure: unknown) => {
    const { message, reference } = failure as CallError | ClientError;
    setError(reference ? `${message} Run: npx sallyport why ${reference}` : message);
  }, []);
  const { socket, state, denial, messages } = useChat(url, show);
  useEffect(() => void list.current?.lastElementChild?.scrollIntoView(), [messages]);
  // The error of an earlier state would mislead.
  useEffect(() => void (state === "reconnecting" || setError("")), [state]);
  const say = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = event.currentTarget;
    try {
      await socket.current?.call.say({ text: String(new FormData(form).get("text")) });
      form.reset();
      setError("");
    } catch (failure) {
      show(failure);
    }
  };
  return (
    <main>
      <header>
        <h1>Chat</h1>
        <p id="status" role="status">
          {url === null
            ? "No WebSocket URL: run npm run dev, or set SALLYPORT_URL in production."
            : `${user}: ${STATES[state]}`}
        </p>
        <button type="button" onClick={signOut}>
          Sign out
        </button>
      </header>
      {denial && <Denied denial={denial} user={user} retry={() => socket.current?.reconnect()} />}
      <ol id="messages" ref={list} aria-live="polite">
        {messages.map(({ id, from, text }) => (
          <li key={id}>
            <b>{from}</b> {text}{" "}
            <button type="button" onClick={() => socket.current?.call.remove({ messageId: id }).catch(show)}>
              Remove
            </button>
          </li>
        ))}
      </ol>
      {error && <p role="alert">{error}</p>}
      {state === "open" && (
        <form onSubmit={say}>
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
      )}
    </main>
  );
}

/** Shows why the user has no access, and the commands that explain and change it. */
function Denied({ denial, user, retry }: { denial: Denial; user: string; retry: () => void }) {
  const { reason, reference, lacksPermission } = denial;
  const commands = [
    ...(reference ? [`npx sallyport why ${reference}`] : []),
    ...(lacksPermission ? [`npx sallyport users grant ${user} chat.use`] : []),
  ];
  const purpose = lacksPermission ? "see why and to give access" : "see why";
  const advice = `Run this in a second terminal to ${purpose}:`;
  return (
    <section id="denied">
      <p>{commands.length > 0 ? `${reason} ${advice}` : reason}</p>
      <pre>
        <code id="command">{commands.join("\n")}</code>
      </pre>
      <button type="button" onClick={retry}>
        Try again
      </button>
    </section>
  );
}

/** Keeps a connection while the component is shown. */
function useChat(url: string | null, onError: (error: ClientError) => void) {
  const socket = useRef<Socket<ChatView, ChatMessage>>(undefined);
  const [state, setState] = useState<SocketState>("connecting");
  const [denial, setDenial] = useState<Denial>();
  const [messages, setMessages] = useState<readonly Message[]>([]);
  useEffect(() => {
    if (url === null) return;
    const opened = connect<ChatView, ChatMessage>({ url, token: "/api/ws-token", view: "/ws/chat" });
    socket.current = opened;
    opened.on("state", (next) => {
      setState(next);
      if (next !== "denied") setDenial(undefined);
    });
    opened.on("denied", ({ status, error, reference }) => {
      const reason = status === 0 ? error : `${status} ${error}`;
      setDenial({ reason, reference, lacksPermission: status === 403 });
    });
    opened.on("revoked", ({ scope, reference }) => {
      if (scope === "view") setDenial({ reason: "Your access has ended.", reference, lacksPermission: true });
    });
    opened.on("error", onError);
    opened.on("message", (message) => {
      if (message.type === "message") setMessages((before) => [...before, message]);
      else setMessages((before) => before.filter(({ id }) => id !== message.id));
    });
    return () => opened.close();
  }, [url, onError]);
  return { socket, state, denial, messages };
}
