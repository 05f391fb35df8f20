import { Button, Group, Modal, Text, Timeline } from "@mantine/core";
import { useState } from "react";
import type { RoomState } from "../../src/people-routes.ts";
import { CheckIcon, CrossIcon } from "../icons.tsx";
import { reasonOf } from "../live/explanation.tsx";
import classes from "./chat.module.css";

interface Props {
  readonly room: RoomState;
  readonly person: string;
}

/** Opens the rules of a locked room. No decision was made yet, so there is no reference. */
export function WhyLocked({ room, person }: Props) {
  const [isOpen, setOpen] = useState(false);
  return (
    <>
      <Button size="compact-xs" variant="default" className={classes.touch} onClick={() => setOpen(true)}>
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
            <Timeline bulletSize={22} lineWidth={2} active={-1}>
              {room.steps.map((step, index) => (
                <Timeline.Item
                  // biome-ignore lint/suspicious/noArrayIndexKey: the order of the checks does not change
                  key={index}
                  title={
                    <Text size="sm" fw={600}>{`${step.what}: ${step.allowed ? "passed" : "failed"}`}</Text>
                  }
                  bullet={step.allowed ? <CheckIcon size={14} /> : <CrossIcon size={14} />}
                  color={step.allowed ? "harbor" : "red"}
                >
                  <Text size="sm">{reasonOf(step)}</Text>
                </Timeline.Item>
              ))}
            </Timeline>
          </Modal.Body>
        </Modal.Content>
      </Modal.Root>
    </>
  );
}
