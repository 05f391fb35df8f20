import { Alert, Text } from "@mantine/core";
import { BoltIcon } from "../icons.tsx";
import { useClosed, useDecision, useLive } from "../live/live-provider.tsx";
import { WhyButton } from "./why-button.tsx";

interface Props {
  readonly person: string;
  /** What was lost: the title of a room, or the whole chat. */
  readonly place: string;
  /** Whether the connection left a room and is still open. Otherwise it was closed. */
  readonly isSocketOpen: boolean;
  readonly reference: string;
}

/** Shows that access has ended while the page was open, after what time, and for what reason. */
export function AccessEnded({ person, place, isSocketOpen, reference }: Props) {
  const closedAfterMs = useClosed(reference)?.afterMs;
  const removedAfterMs = useRemovedAfterMs(reference);
  return (
    <Alert
      color="orange"
      variant="light"
      icon={<BoltIcon />}
      title={`${person}’s access to ${place} has ended`}
      role="status"
      data-testid="access-ended"
    >
      <Text size="sm" mb={6}>
        {isSocketOpen
          ? `Removed from the room${timeOf(removedAfterMs)}. The connection stays open, and the room comes back when access returns.`
          : `The connection was closed${timeOf(closedAfterMs)}. The page connects again when access returns.`}
      </Text>
      <WhyButton reference={reference} />
    </Alert>
  );
}

/** Returns the time from the change of permissions to its decision, or undefined if it is not known. */
function useRemovedAfterMs(reference: string): number | undefined {
  const decision = useDecision(reference)?.decision;
  const { entries } = useLive();
  for (const entry of entries) {
    if (decision && entry.kind === "change" && entry.change.number === decision.change)
      return Math.max(0, Math.round(decision.at - entry.change.at));
  }
  return undefined;
}

const timeOf = (ms: number | undefined) => (ms === undefined ? "" : ` ${ms} ms after the change`);
