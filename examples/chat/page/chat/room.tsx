import { Box } from "@mantine/core";
import type { Me, RoomState } from "../../src/people-routes.ts";
import { AccessEnded } from "./access-ended.tsx";
import { Composer } from "./composer.tsx";
import { MessageList } from "./message-list.tsx";
import { useSocket } from "./socket.ts";
import { useHistory } from "./use-history.ts";

interface Props {
  readonly me: Me;
  readonly room: RoomState;
}

/** The room that the connection is in, or was in until access ended. */
export function Room({ me, room }: Props) {
  const { denial } = useSocket();
  const { messages, isLoading } = useHistory(room.slug, [me.id, room.slug]);
  return (
    <>
      <MessageList
        messages={messages}
        isLoading={isLoading}
        isPast={denial !== undefined}
        myId={me.id}
        canDelete={me.canDelete}
      />
      <Box p="sm">
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
