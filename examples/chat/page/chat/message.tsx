import { ActionIcon, Button, Group, Popover, Stack, Text, VisuallyHidden } from "@mantine/core";
import { useState } from "react";
import type { ChatMessage } from "../../src/messages.ts";
import { TrashIcon } from "../icons.tsx";
import { PersonAvatar } from "../person-avatar.tsx";
import classes from "./chat.module.css";
import { useCall } from "./socket.ts";

/** Maximum length of the quote in the question before a message is deleted, in characters. */
const QUOTED = 40;

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "short", hourCycle: "h23" });

interface Props {
  readonly message: ChatMessage;
  readonly isMine: boolean;
  /** Whether the message before is of the same sender, so that the name is not repeated. */
  readonly isContinued: boolean;
  readonly canDelete: boolean;
}

/** A message. A moderator deletes it after a question, which is placed below or above the message. */
export function Message({ message, isMine, isContinued, canDelete }: Props) {
  const [isAsking, setAsking] = useState(false);
  const sentAt = clock.format(new Date(message.created_at));
  return (
    <Popover
      opened={isAsking}
      onChange={setAsking}
      position="bottom-end"
      offset={4}
      width={260}
      shadow="md"
      trapFocus
      returnFocus
      withRoles={false}
    >
      <Popover.Target>
        <li
          className={classes.message}
          data-mine={isMine || undefined}
          data-continued={isContinued || undefined}
          data-testid="message"
        >
          <span className={classes.avatar}>
            {!isContinued && <PersonAvatar name={message.username} size={28} />}
          </span>
          <div className={classes.bubble} title={sentAt}>
            {isContinued ? (
              <VisuallyHidden>
                {message.username} {sentAt}
              </VisuallyHidden>
            ) : (
              <Text size="xs" fw={600}>
                {message.username}{" "}
                <Text span size="xs" c="dimmed" fw={400}>
                  {sentAt}
                </Text>
              </Text>
            )}
            <Text size="sm" dir="auto" className={classes.text} data-testid="message-text">
              {message.message}
            </Text>
          </div>
          {canDelete && (
            <ActionIcon
              size={28}
              variant="subtle"
              color="gray"
              className={classes.trash}
              data-asking={isAsking || undefined}
              aria-label={`Delete the message of ${message.username}`}
              aria-haspopup="dialog"
              aria-expanded={isAsking}
              onClick={() => setAsking((before) => !before)}
            >
              <TrashIcon size={14} />
            </ActionIcon>
          )}
        </li>
      </Popover.Target>
      <Popover.Dropdown role="dialog" aria-label="Delete the message" className={classes.question}>
        {isAsking && <DeleteQuestion message={message} onKeep={() => setAsking(false)} />}
      </Popover.Dropdown>
    </Popover>
  );
}

function DeleteQuestion({ message, onKeep }: { readonly message: ChatMessage; readonly onKeep: () => void }) {
  const { call: remove, isPending, error } = useCall("delete_message");
  return (
    <Stack gap="xs">
      <Text size="sm" className={classes.text}>
        Delete “{quoted(message.message)}” for everyone?
      </Text>
      {error && (
        <Text size="sm" c="red" role="alert">
          {error.message}
        </Text>
      )}
      <Group gap="xs" justify="flex-end">
        <Button size="xs" variant="default" className={classes.touch} onClick={onKeep}>
          Keep
        </Button>
        <Button
          size="xs"
          color="red.9"
          className={classes.touch}
          data-autofocus
          loading={isPending}
          onClick={() => void remove({ message_id: message.id }).catch(() => undefined)}
        >
          Delete
        </Button>
      </Group>
    </Stack>
  );
}

/** Returns the start of a text. */
function quoted(text: string): string {
  const characters = [...text];
  return characters.length <= QUOTED ? text : `${characters.slice(0, QUOTED).join("").trimEnd()}…`;
}
