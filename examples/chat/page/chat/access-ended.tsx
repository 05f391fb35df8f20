import { Alert, Text } from "@mantine/core";
import { BoltIcon } from "../icons.tsx";
import { useClosed } from "../live/live-provider.tsx";
import { WhyButton } from "./why-button.tsx";

interface Props {
  readonly person: string;
  /** What was lost: the title of a room, or the whole chat. */
  readonly place: string;
  /** Whether the socket left a room and is still open. Otherwise it was closed. */
  readonly isSocketOpen: boolean;
  readonly reference: string;
}

/** Says that access has ended while the page was open, how fast, and why. */
export function AccessEnded({ person, place, isSocketOpen, reference }: Props) {
  const closed = useClosed(reference);
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
          ? "The socket left the room, and is still open."
          : `The socket was closed${closed ? ` ${closed.afterMs} ms after the change` : ""}.`}{" "}
        Nothing new arrives. This page connects again when access returns.
      </Text>
      <WhyButton reference={reference} />
    </Alert>
  );
}
