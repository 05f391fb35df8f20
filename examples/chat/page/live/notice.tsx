import { Button, CloseButton, Group, Text } from "@mantine/core";
import { useState } from "react";
import { PANES, type Pane } from "../../src/panes.ts";
import { useMe } from "../api/people.ts";
import { describe } from "./describe.ts";
import classes from "./live.module.css";
import { useLiveValue } from "./live-provider.tsx";
import type { LiveEntry } from "./live-store.ts";

interface Props {
  /** Shows the chat of a pane. */
  readonly onShow: (pane: Pane) => void;
}

/** Shows that access ended, while a phone shows another panel than the chat. */
export function Notice({ onShow }: Props) {
  const [openedAt] = useState(Date.now);
  const [dismissed, dismiss] = useState<LiveEntry>();
  const ended = useLiveValue(({ entries }) => entries.find(isEnd));
  const people = { left: useMe("left").data, right: useMe("right").data };
  const isShown = ended !== undefined && ended !== dismissed && ended.at >= openedAt;
  const pane = PANES.find((name) => people[name]?.name === ended?.person);
  return (
    <div role="status">
      {isShown && (
        <div className={classes.notice} data-testid="notice">
          <Text size="sm">{textOf(ended)}</Text>
          <Group gap={4} wrap="nowrap">
            {pane && (
              <Button size="xs" variant="light" onClick={() => onShow(pane)}>
                See the chat
              </Button>
            )}
            <CloseButton size="sm" aria-label="Close the notice" onClick={() => dismiss(ended)} />
          </Group>
        </div>
      )}
    </div>
  );
}

/** Whether a socket was closed, or a room was lost. The socket is still open then. */
function isEnd(entry: LiveEntry): boolean {
  if (entry.kind !== "decision") return entry.kind === "closed";
  return entry.decision.event === "revocation" && entry.decision.channel !== undefined;
}

function textOf(entry: LiveEntry): string {
  return entry.kind === "closed"
    ? `${entry.person}’s socket closed after ${entry.afterMs} ms`
    : describe(entry).title;
}
