import { Box, Text } from "@mantine/core";
import type { Me, RoomState } from "../../src/people-routes.ts";
import { AccessEnded } from "./access-ended.tsx";
import { LockedRoom } from "./locked-room.tsx";
import { NoAccess } from "./no-access.tsx";
import { Room } from "./room.tsx";
import { useSocket } from "./socket.ts";
import { WhyButton } from "./why-button.tsx";

interface Props {
  readonly me: Me;
  /** The selected room. */
  readonly room: RoomState;
  /** Whether the connection is in the selected room, or was in it until access ended. */
  readonly isEntered: boolean;
}

/** The selected room, or why the person cannot see it. */
export function Place({ me, room, isEntered }: Props) {
  const { denial } = useSocket();
  if (denial?.kind === "denied") {
    const isForbidden = denial.status === 403;
    return (
      <NoAccess title={isForbidden ? `${me.name} has no access to this chat` : "Not connected"}>
        <Text size="sm" c="dimmed">
          {isForbidden ? "It opens by itself when access is granted." : denial.error}
        </Text>
        <WhyButton reference={denial.reference} />
      </NoAccess>
    );
  }
  if (isEntered) return <Room key={room.slug} me={me} room={room} />;
  return (
    <>
      <LockedRoom room={room} me={me} />
      {denial?.scope === "view" && (
        <Box p="sm">
          <AccessEnded person={me.name} reference={denial.reference} isSocketOpen={false} place="this chat" />
        </Box>
      )}
    </>
  );
}
