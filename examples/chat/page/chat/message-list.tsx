import { Skeleton, Text } from "@mantine/core";
import { useEffect, useRef } from "react";
import type { ChatMessage } from "../../src/messages.ts";
import classes from "./chat.module.css";
import { Message } from "./message.tsx";

interface Props {
  readonly messages: readonly ChatMessage[];
  readonly isLoading: boolean;
  /** Whether the person has lost access, so that the messages are those of before. */
  readonly isPast: boolean;
  readonly myId: string;
  readonly canDelete: boolean;
}

/** The messages of a room, oldest first. */
export function MessageList({ messages, isLoading, isPast, myId, canDelete }: Props) {
  const viewport = useRef<HTMLDivElement>(null);
  const newest = messages.at(-1)?.id;
  // biome-ignore lint/correctness/useExhaustiveDependencies: a new message scrolls the list
  useEffect(() => scrollToEnd(viewport.current), [newest]);
  // A notice below the list makes it smaller.
  useEffect(() => {
    if (!viewport.current) return;
    const observer = new ResizeObserver(() => scrollToEnd(viewport.current));
    observer.observe(viewport.current);
    return () => observer.disconnect();
  }, []);
  return (
    <div
      ref={viewport}
      className={classes.messages}
      data-past={isPast || undefined}
      role="log"
      aria-label="Messages"
      // biome-ignore lint/a11y/noNoninteractiveTabindex: the keyboard scrolls the list
      tabIndex={0}
    >
      <ol className={classes.list}>
        {isLoading &&
          [60, 40, 75].map((width) => <Skeleton key={width} h={30} w={`${width}%`} component="li" />)}
        {!isLoading && messages.length === 0 && (
          <Text component="li" c="dimmed" size="sm">
            No messages yet.
          </Text>
        )}
        {messages.map((message, index) => (
          <Message
            key={message.id}
            message={message}
            isMine={message.user_id === myId}
            isContinued={messages[index - 1]?.user_id === message.user_id}
            canDelete={canDelete && !isPast}
          />
        ))}
      </ol>
    </div>
  );
}

function scrollToEnd(viewport: HTMLElement | null): void {
  viewport?.scrollTo({ top: viewport.scrollHeight });
}
