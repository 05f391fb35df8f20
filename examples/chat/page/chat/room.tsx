import { Box, Text } from "@mantine/core";
import type { Me, RoomState } from "../../src/people-routes.ts";
import { AccessEnded } from "./access-ended.tsx";
import { Composer } from "./composer.tsx";
import { MessageList } from "./message-list.tsx";
import { NoAccess } from "./no-access.tsx";
import { useSocket } from "./socket.ts";
import { useHistory } from "./use-history.ts";
import { useReturn } from "./use-return.ts";
import { WhyButton } from "./why-button.tsx";

interface Props {
  readonly me: Me;
  readonly room: RoomState;
}

/** The room that the connection is in, or was in until access ended. */
export function Room({ me, room }: Props) {
  const { denial } = useSocket();
  useReturn(room);
  const { messages, isLoading } = useHistory(room.slug, [me.id, room.slug]);
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
  return (
    <>
      <MessageList
        messages={messages}
        isLoading={isLoading}
        isPast={denial !== undefined}
        myId={me.id}
        canDelete={me.canDelete}
      />
      <Box p="sm" pt={0}>
        {denial ? (
          <AccessEnded
            person={me.name}
            reference={denial.reference}
            isSocketOpen={denial.scope === "channel"}
            place={me.rooms.every(({ isLocked }) => isLocked) ? "this chat" : room.title}
          />
        ) : (
          <Composer roomTitle={room.title} person={me.name} />
        )}
      </Box>
    </>
  );
}
