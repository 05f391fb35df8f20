import { createSallyportReact } from "sallyport/react";
import type { ChatMessage, ChatView } from "../src/chat-view.ts";

/** The connection to the view. See node_modules/sallyport/docs/guides/react.md. */
export const { SallyportProvider, useSocket, useCall, useMessages } = createSallyportReact<
  ChatView,
  ChatMessage
>();
