import { ActionIcon, Text, TextInput } from "@mantine/core";
import { type FormEvent, useState } from "react";
import { SendIcon } from "../icons.tsx";
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
    if (text.trim() === "") return;
    try {
      await send({ message: text });
      setText("");
    } catch {
      // The hook returns the error, which is shown below the field.
    }
  };
  return (
    <form onSubmit={(event) => void submit(event)}>
      <TextInput
        placeholder={`Message ${roomTitle}`}
        aria-label={`Message of ${person} to ${roomTitle}`}
        maxLength={2000}
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
        data-testid="composer"
        rightSection={
          <ActionIcon type="submit" aria-label="Send" loading={isPending} data-testid="send">
            <SendIcon />
          </ActionIcon>
        }
      />
      {error && (
        <Text size="xs" c="red" role="alert" mt={4}>
          Not sent: {error.message}
        </Text>
      )}
    </form>
  );
}
