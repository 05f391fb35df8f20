import { Stack } from "@mantine/core";
import { useEffect } from "react";
import type { Me, RoomState } from "../../src/people-routes.ts";
import { AccessNotice } from "./access-notice.tsx";
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
  const { denial, reconnect } = useSocket();
  const { messages, isLoading } = useHistory(room.slug, [me.id, room.slug]);
  const isDenied = denial !== undefined;
  // The client checks this by itself too, at most every 30 seconds. The live panel knows it at once.
  const canReturn = isDenied && denial.scope === "view" && !room.isLocked;
  useEffect(() => {
    if (canReturn) reconnect();
  }, [canReturn, reconnect]);
  return (
    <>
      {(!isDenied || denial.kind === "revoked") && (
        <MessageList
          messages={messages}
          isLoading={isLoading}
          isPast={isDenied}
          myId={me.id}
          canDelete={me.canDelete}
        />
      )}
      <Stack gap="xs" p="sm" pt={0} mt={isDenied && denial.kind === "denied" ? "sm" : 0}>
        {denial ? (
          <AccessNotice
            person={me.name}
            kind={denial.kind}
            reference={denial.reference}
            roomTitle={denial.scope === "channel" ? room.title : undefined}
          />
        ) : (
          <Composer roomTitle={room.title} person={me.name} />
        )}
      </Stack>
    </>
  );
}
