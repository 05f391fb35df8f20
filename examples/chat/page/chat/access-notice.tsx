import { Alert, Button, Group, Text } from "@mantine/core";
import { useState } from "react";
import { BoltIcon, LockIcon } from "../icons.tsx";
import { Explanation } from "../live/explanation.tsx";
import { type DecisionEntry, useClosed, useLive } from "../live/live-provider.tsx";

interface Props {
  readonly person: string;
  /** `denied`: the person never had access. `revoked`: it ended while the page was open. */
  readonly kind: "denied" | "revoked";
  /** The title of a room, or undefined for the whole chat. */
  readonly roomTitle?: string | undefined;
  readonly reference: string;
}

/** Says that a person has no access, or no access any more, and why. */
export function AccessNotice({ person, kind, roomTitle, reference }: Props) {
  const { entries } = useLive();
  const closed = useClosed(kind === "revoked" ? reference : undefined);
  const [isExplained, setExplained] = useState(false);
  const decision = entries.find(
    (entry): entry is DecisionEntry => entry.kind === "decision" && entry.decision.reference === reference,
  );
  const what = roomTitle ?? "this chat";
  const isEnded = kind === "revoked";
  return (
    <Alert
      color={isEnded ? "orange" : "gray"}
      variant="light"
      icon={isEnded ? <BoltIcon /> : <LockIcon />}
      title={isEnded ? `${person}’s access to ${what} has ended` : `${person} has no access to ${what}`}
      role="status"
      data-testid="notice"
      data-kind={kind}
    >
      <Text size="sm">
        {isEnded ? endedText(closed?.afterMs, roomTitle) : "The page opens by itself when access is granted."}
      </Text>
      {decision && (
        <Group mt={6}>
          <Button size="compact-xs" variant="default" onClick={() => setExplained(true)}>
            Why?
          </Button>
        </Group>
      )}
      <Explanation entry={isExplained ? decision : undefined} onClose={() => setExplained(false)} />
    </Alert>
  );
}

function endedText(afterMs: number | undefined, roomTitle: string | undefined): string {
  const stays = "The messages of before stay here, and nothing new arrives.";
  if (roomTitle !== undefined) return `The socket left the room and is still open. ${stays}`;
  return afterMs === undefined ? stays : `The socket was closed ${afterMs} ms after the change. ${stays}`;
}
