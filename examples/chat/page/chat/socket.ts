import { createSallyportReact } from "sallyport/react";
import type { ChatView } from "../../src/chat-view.ts";
import type { ChatMessage } from "../../src/messages.ts";

/** A message that the server sends. */
export type Pushed =
  | ({ readonly type: "chat_message" } & ChatMessage)
  | { readonly type: "message_deleted"; readonly id: number };

export const { SallyportProvider, useSocket, useCall, useMessages } = createSallyportReact<
  ChatView,
  Pushed
>();
