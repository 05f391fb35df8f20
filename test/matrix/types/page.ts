// The page of the app, with the types of React. The matrix compiles it and does not run it.
import { createElement, type ReactElement } from "react";
import { createSallyportReact } from "sallyport/react";
import type { ChatView } from "./app.ts";

type ChatMessage = { readonly type: "message"; readonly text: string };

export const page = createSallyportReact<ChatView, ChatMessage>();

export function Page(): ReactElement {
  return createElement(page.SallyportProvider, { url: "wss://ws.example.com" }, createElement(Room));
}

function Room(): ReactElement {
  const { state } = page.useSocket();
  const { call } = page.useCall("whoami");
  page.useMessages("message", ({ text }) => text.length);
  // @ts-expect-error The app sends no such message.
  page.useMessages("messages", () => undefined);
  // @ts-expect-error The view has no such handler.
  page.useCall("nothing");
  return createElement("p", { onClick: () => call().then(({ user }) => user) }, state);
}
