import { Box, Group, Paper, Skeleton, Stack, Text, Title } from "@mantine/core";
import { useState } from "react";
import { VIEW } from "../../src/page-contract.ts";
import type { Pane as PaneName } from "../../src/panes.ts";
import type { Me, RoomState } from "../../src/people-routes.ts";
import { usePublishConnection } from "../api/connections.ts";
import { useConfig, useMe } from "../api/people.ts";
import classes from "./chat.module.css";
import { ConnectionBadge } from "./connection-badge.tsx";
import { PersonMenu } from "./person-menu.tsx";
import { Place } from "./place.tsx";
import { RoomList } from "./room-list.tsx";
import { SignIn } from "./sign-in.tsx";
import { SallyportProvider, useSocket } from "./socket.ts";
import { useFirstSignIn } from "./use-first-sign-in.ts";
import { useReturn } from "./use-return.ts";

interface Props {
  readonly pane: PaneName;
  /** Who is signed in here when the page is opened for the first time. */
  readonly firstEmail: string;
}

/** The chat of one person. */
export function Pane({ pane, firstEmail }: Props) {
  const me = useMe(pane);
  const config = useConfig();
  const isSigningIn = useFirstSignIn(pane, firstEmail, me.data);
  const error = me.error ?? config.error;
  return (
    <Paper
      component="section"
      aria-label={me.data ? `What ${me.data.name} sees` : `The ${pane} chat`}
      withBorder
      className={classes.pane}
      data-testid={`pane-${pane}`}
    >
      {me.data && config.data ? (
        <PersonPane key={me.data.id} pane={pane} me={me.data} gatewayUrl={config.data.gatewayUrl} />
      ) : error ? (
        <Text p="lg" role="alert">
          {error.message}
        </Text>
      ) : me.data === null && !isSigningIn ? (
        <SignIn pane={pane} />
      ) : (
        <Skeleton flex={1} m="sm" />
      )}
    </Paper>
  );
}

interface PersonPaneProps {
  readonly pane: PaneName;
  readonly me: Me;
  readonly gatewayUrl: string;
}

function PersonPane({ pane, me, gatewayUrl }: PersonPaneProps) {
  const [selected, select] = useState(me.rooms[0]?.slug);
  const [entered, enter] = useState(selected);
  const room = me.rooms.find(({ slug }) => slug === selected);
  // A locked room is shown, but the connection stays in the room before until it is unlocked.
  if (room && room.slug !== entered && !room.isLocked) enter(room.slug);
  const enteredRoom = me.rooms.find(({ slug }) => slug === entered);
  if (!room || !enteredRoom) return <Text p="lg">The chat has no rooms.</Text>;
  return (
    <SallyportProvider
      url={gatewayUrl}
      token={`/api/ws-token?pane=${pane}`}
      view={VIEW}
      channel={`rooms/${enteredRoom.slug}`}
      keepAlive={{}}
    >
      <Stack gap={0} h="100%" mih={0}>
        <Box px="sm" pt={8}>
          <Title order={2} size="xs" fw={500} c="dimmed" className={classes.heading}>
            What {me.name} sees
          </Title>
          <Group justify="space-between" wrap="nowrap" className={classes.header}>
            <PersonMenu pane={pane} name={me.name} />
            <ConnectionBadge />
          </Group>
        </Box>
        <RoomList rooms={me.rooms} selected={room.slug} person={me.name} onSelect={select} />
        <Connection pane={pane} userId={me.id} enteredRoom={enteredRoom} />
        <Place me={me} room={room} isEntered={room.slug === enteredRoom.slug} />
      </Stack>
    </SallyportProvider>
  );
}

/** Connects again when access returns, and publishes the state for the panel Access. */
function Connection({
  pane,
  userId,
  enteredRoom,
}: {
  readonly pane: PaneName;
  readonly userId: string;
  readonly enteredRoom: RoomState;
}) {
  const { state, denial } = useSocket();
  const hasEnded = denial?.kind === "revoked" && denial.scope === "view";
  usePublishConnection(pane, {
    userId,
    isOpen: state === "open",
    endedBy: hasEnded ? denial.reference : null,
  });
  useReturn(enteredRoom);
  return null;
}
