import { useState } from "react";
import type { ChatMessage } from "../src/chat-view.ts";
import { ErrorText } from "./errors.tsx";
import { useCall, useMessages, useSocket } from "./sallyport.ts";

type Message = Extract<ChatMessage, { type: "message" }>;

const scrollIntoView = (item: HTMLElement | null) => item?.scrollIntoView();

/** Shows the messages that arrived, with a button that removes a message for all users. */
export function Messages() {
  const { state } = useSocket();
  const { call: remove, error } = useCall("remove");
  const [messages, setMessages] = useState<readonly Message[]>([]);
  useMessages("message", (message) => setMessages((before) => [...before, message]));
  useMessages("removed", ({ id }) => setMessages((before) => before.filter((message) => message.id !== id)));
  return (
    <>
      <ol id="messages" aria-live="polite">
        {messages.map(({ id, from, text }) => (
          <li key={id} ref={scrollIntoView}>
            <b>{from}</b> {text} {/* The error is shown below the messages. */}
            <button type="button" onClick={() => remove({ messageId: id }).catch(() => undefined)}>
              Remove
            </button>
          </li>
        ))}
      </ol>
      {state === "open" && <ErrorText error={error} />}
    </>
  );
}
