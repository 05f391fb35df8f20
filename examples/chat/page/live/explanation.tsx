import { Badge, Button, Code, CopyButton, Group, Modal, Stack, Text } from "@mantine/core";
import { useEffect } from "react";
import { useConfig } from "../api/people.ts";
import { useGuide } from "../guide-progress.ts";
import { CheckIcon, CopyIcon } from "../icons.tsx";
import { changeTitle } from "./describe.ts";
import { outcomeOf, questionOf } from "./explanation-words.ts";
import classes from "./live.module.css";
import { useChange } from "./live-provider.tsx";
import type { DecisionEntry } from "./live-store.ts";
import { ReasonList } from "./reason-list.tsx";
import { reasonsOf } from "./reasons.ts";

interface Props {
  /** The decision to explain, or undefined to close the dialog. */
  readonly entry: DecisionEntry | undefined;
  readonly onClose: () => void;
}

/** Explains a decision rule by rule. */
export function Explanation({ entry, onClose }: Props) {
  const { complete } = useGuide();
  const isRevocation = entry?.decision.event === "revocation";
  useEffect(() => {
    if (isRevocation) complete("why");
  }, [isRevocation, complete]);
  return (
    <Modal.Root opened={entry !== undefined} onClose={onClose} centered size={480}>
      <Modal.Overlay />
      <Modal.Content>
        <Modal.Body p="lg">
          {/* Not Modal.Header, which would be a second banner of the page. */}
          <Group justify="space-between" mb="sm" wrap="nowrap">
            <Modal.Title fw={650} className={classes.question}>
              {entry ? questionOf(entry) : "Why?"}
            </Modal.Title>
            <Modal.CloseButton aria-label="Close" />
          </Group>
          {entry && <ExplanationText entry={entry} />}
        </Modal.Body>
      </Modal.Content>
    </Modal.Root>
  );
}

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium", hourCycle: "h23" });

function ExplanationText({ entry }: { readonly entry: DecisionEntry }) {
  const { decision } = entry;
  const cause = useChange(decision.change);
  const { label, color } = outcomeOf(decision);
  const reasons = reasonsOf(decision.steps, entry.person ?? "The client");
  const hasFailed = reasons.some(({ isPassed }) => !isPassed);
  return (
    <Stack gap="sm" data-testid="explanation">
      <Group gap="xs">
        <Badge color={color} variant="light">
          {label}
        </Badge>
        <Text size="sm" c="dimmed">
          {clock.format(entry.at)}, decided in {decision.tookMs.toFixed(1)} ms
        </Text>
      </Group>
      {decision.verdict === "denied" && !hasFailed && <Text size="sm">{decision.message}</Text>}
      <ReasonList reasons={reasons} />
      {decision.change !== undefined && (
        <Text size="sm">
          Caused by:{" "}
          {cause ? `${changeTitle(cause)}, ${clock.format(cause.at)}` : `change ${decision.change}`}
        </Text>
      )}
      <Command reference={decision.reference} />
    </Stack>
  );
}

/** The command that prints the same explanation. */
function Command({ reference }: { readonly reference: string }) {
  const config = useConfig();
  const command = `${config.data?.commandPrefix ?? ""}npx sallyport why ${reference}`;
  return (
    <div>
      <Group justify="space-between" mb={4}>
        <Text size="xs" c="dimmed">
          The same in a terminal:
        </Text>
        <CopyButton value={command}>
          {({ copied, copy }) => (
            <Button
              size="compact-sm"
              variant="default"
              leftSection={copied ? <CheckIcon size={12} /> : <CopyIcon size={12} />}
              onClick={copy}
            >
              {copied ? "Copied" : "Copy"}
            </Button>
          )}
        </CopyButton>
      </Group>
      <Code block className={classes.command}>
        {command}
      </Code>
    </div>
  );
}
