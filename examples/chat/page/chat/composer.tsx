import { ActionIcon, Text, Textarea } from "@mantine/core";
import { type FormEvent, type KeyboardEvent, useState } from "react";
import { SendIcon } from "../icons.tsx";
import classes from "./chat.module.css";
import { useCall } from "./socket.ts";

interface Props {
  readonly roomTitle: string;
  readonly person: string;
}

/** The form for a new message. The text is kept if the message is not sent. */
export function Composer({ roomTitle, person }: Props) {
  const [text, setText] = useState("");
  const { call: send, isPending, error } = useCall("send_message");
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (text.trim() === "" || isPending) return;
    try {
      await send({ message: text });
      setText("");
    } catch {
      // The hook returns the error, which is shown below the field.
    }
  };
  return (
    <form onSubmit={(event) => void submit(event)}>
      <div className={classes.composer}>
        <Textarea
          autosize
          minRows={1}
          maxRows={4}
          placeholder={`Message ${roomTitle}`}
          aria-label={`Message of ${person} to ${roomTitle}`}
          maxLength={2000}
          value={text}
          onChange={(event) => setText(event.currentTarget.value)}
          onKeyDown={sendOnEnter}
          data-testid="composer"
        />
        <ActionIcon
          type="submit"
          size={36}
          aria-label="Send"
          loading={isPending}
          className={classes.touch}
          data-testid="send"
        >
          <SendIcon />
        </ActionIcon>
      </div>
      {error && (
        <Text size="xs" c="red" role="alert" mt={4}>
          Not sent: {error.message}
        </Text>
      )}
    </form>
  );
}

/** Sends with Enter. Shift+Enter breaks the line, and Enter also confirms the input of an input method. */
function sendOnEnter(event: KeyboardEvent<HTMLTextAreaElement>): void {
  if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
  event.preventDefault();
  event.currentTarget.form?.requestSubmit();
}
