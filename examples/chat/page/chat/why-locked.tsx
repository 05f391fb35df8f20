import { Button, Group, Modal, Text } from "@mantine/core";
import { useState } from "react";
import type { RoomState } from "../../src/people-routes.ts";
import { ReasonList } from "../live/reason-list.tsx";
import { reasonsOf } from "../live/reasons.ts";
import classes from "./chat.module.css";

interface Props {
  readonly room: RoomState;
  readonly person: string;
}

/** Opens the rules of a locked room. They were not evaluated for an event, so no reference exists. */
export function WhyLocked({ room, person }: Props) {
  const [isOpen, setOpen] = useState(false);
  return (
    <>
      <Button size="compact-sm" variant="default" className={classes.touch} onClick={() => setOpen(true)}>
        Why?
      </Button>
      <Modal.Root opened={isOpen} onClose={() => setOpen(false)} centered>
        <Modal.Overlay />
        <Modal.Content>
          <Modal.Body p="lg" data-testid="explanation">
            {/* Not Modal.Header, which would be a second banner of the page. */}
            <Group justify="space-between" mb="sm">
              <Modal.Title fw={650}>Why is {room.title} locked?</Modal.Title>
              <Modal.CloseButton aria-label="Close" />
            </Group>
            <Text size="sm" mb="md">
              {person} has to pass each of these checks.
            </Text>
            <ReasonList reasons={reasonsOf(room.steps, person)} />
          </Modal.Body>
        </Modal.Content>
      </Modal.Root>
    </>
  );
}
