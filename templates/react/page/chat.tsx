"use client";

import type { ReactNode } from "react";
import { Denied } from "./denied.tsx";
import { ConnectionError } from "./errors.tsx";
import { Messages } from "./messages.tsx";
import { SallyportProvider, useSocket } from "./sallyport.ts";
import { SendForm } from "./send-form.tsx";

interface Props {
  /** The WebSocket URL of API Gateway, or null if it is not known. */
  readonly url: string | null;
  /** The name of the signed-in user for the command line. */
  readonly user: string;
  readonly signOut: () => void;
}

/** The texts of the states of a connection. */
const STATES = {
  connecting: "connecting…",
  open: "connected",
  reconnecting: "reconnecting…",
  denied: "no access",
  closed: "not connected",
};

export function Chat({ url, user, signOut }: Props) {
  if (url === null) {
    const status = "No WebSocket URL: run npm run dev, or set SALLYPORT_URL in production.";
    return <Page status={status} signOut={signOut} />;
  }
  return (
    <SallyportProvider url={url} token="/api/ws-token" view="/ws/chat">
      <Room user={user} signOut={signOut} />
    </SallyportProvider>
  );
}

function Room({ user, signOut }: Omit<Props, "url">) {
  const { state, denial } = useSocket();
  return (
    <Page status={`${user}: ${STATES[state]}`} signOut={signOut}>
      {denial && <Denied denial={denial} user={user} />}
      <Messages />
      <ConnectionError />
      {state === "open" && <SendForm />}
    </Page>
  );
}

interface PageProps {
  readonly status: string;
  readonly signOut: () => void;
  readonly children?: ReactNode;
}

function Page({ status, signOut, children }: PageProps) {
  return (
    <main>
      <header>
        <h1>Chat</h1>
        <p id="status" role="status">
          {status}
        </p>
        <button type="button" onClick={signOut}>
          Sign out
        </button>
      </header>
      {children}
    </main>
  );
}
