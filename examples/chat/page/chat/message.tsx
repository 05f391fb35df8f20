import { ActionIcon, Button, Group, Popover, Stack, Text } from "@mantine/core";
import { useState } from "react";
import type { ChatMessage } from "../../src/messages.ts";
import { TrashIcon } from "../icons.tsx";
import { PersonAvatar } from "../person-avatar.tsx";
import classes from "./chat.module.css";
import { useCall } from "./socket.ts";

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "short", hourCycle: "h23" });

interface Props {
  readonly message: ChatMessage;
  readonly isMine: boolean;
  readonly canDelete: boolean;
}

export function Message({ message, isMine, canDelete }: Props) {
  return (
    <li className={classes.message} data-mine={isMine || undefined} data-testid="message">
      <PersonAvatar name={message.username} size={28} />
      <div className={classes.bubble}>
        <Group gap={6} justify="space-between" wrap="nowrap">
          <Text size="xs" fw={600}>
            {message.username}{" "}
            <Text span size="xs" c="dimmed" fw={400}>
              {clock.format(new Date(message.created_at))}
            </Text>
          </Text>
          {canDelete && <DeleteButton message={message} />}
        </Group>
        <Text size="sm" dir="auto" className={classes.text} data-testid="message-text">
          {message.message}
        </Text>
      </div>
    </li>
  );
}

/** Deletes a message for everyone, after a question. */
function DeleteButton({ message }: { readonly message: ChatMessage }) {
  const [isAsking, setAsking] = useState(false);
  const { call: remove, isPending, error } = useCall("delete_message");
  return (
    <Popover opened={isAsking} onChange={setAsking} position="bottom-end" withArrow trapFocus returnFocus>
      <Popover.Target>
        <ActionIcon
          size="sm"
          variant="subtle"
          color="gray"
          aria-label={`Delete the message of ${message.username}`}
          onClick={() => setAsking((before) => !before)}
        >
          <TrashIcon size={14} />
        </ActionIcon>
      </Popover.Target>
      <Popover.Dropdown aria-label="Delete the message">
        <Stack gap="xs">
          <Text size="sm">Delete this message for everyone?</Text>
          {error && (
            <Text size="sm" c="red" role="alert">
              {error.message}
            </Text>
          )}
          <Group gap="xs" justify="flex-end">
            <Button size="xs" variant="default" onClick={() => setAsking(false)}>
              Keep
            </Button>
            <Button
              size="xs"
              color="red.9"
              data-autofocus
              loading={isPending}
              onClick={() => void remove({ message_id: message.id }).catch(() => undefined)}
            >
              Delete
            </Button>
          </Group>
        </Stack>
      </Popover.Dropdown>
    </Popover>
  );
}
