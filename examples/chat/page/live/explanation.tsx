import { Badge, Code, Group, Modal, Stack, Text, Timeline } from "@mantine/core";
import { CheckIcon, CrossIcon } from "../icons.tsx";
import { labelOf } from "./describe.ts";
import type { DecisionEntry } from "./live-provider.tsx";

interface Props {
  /** The decision to explain, or undefined to close the dialog. */
  readonly entry: DecisionEntry | undefined;
  readonly onClose: () => void;
}

/** Explains a decision rule by rule. */
export function Explanation({ entry, onClose }: Props) {
  return (
    <Modal.Root opened={entry !== undefined} onClose={onClose} centered>
      <Modal.Overlay />
      <Modal.Content>
        <Modal.Body p="lg">
          {/* Not Modal.Header, which would be a second banner of the page. */}
          <Group justify="space-between" mb="sm">
            <Modal.Title fw={650}>Why?</Modal.Title>
            <Modal.CloseButton aria-label="Close" />
          </Group>
          {entry && <ExplanationText entry={entry} />}
        </Modal.Body>
      </Modal.Content>
    </Modal.Root>
  );
}

type Step = DecisionEntry["decision"]["steps"][number];

function ExplanationText({ entry: { person, decision } }: { readonly entry: DecisionEntry }) {
  const { event, verdict, status, message, steps, reference, handler, channel, tookMs, change } = decision;
  const isAllowed = verdict === "allowed";
  return (
    <Stack gap="md" data-testid="explanation">
      <Group gap="xs">
        <Badge color={isAllowed ? "harbor" : "red"} variant="light">
          {isAllowed ? "allowed" : `denied ${status}`}
        </Badge>
        <Text size="sm">
          {person ?? "A client"}: {event} {handler ?? ""} {channel ?? ""}
        </Text>
      </Group>
      {!isAllowed && <Text size="sm">{message}</Text>}
      {steps.length > 0 && (
        <Timeline bulletSize={22} lineWidth={2} active={-1}>
          {steps.map((step, index) => (
            <Timeline.Item
              // biome-ignore lint/suspicious/noArrayIndexKey: the steps of a decision do not change
              key={index}
              title={<Text size="sm" fw={600}>{`${step.what}: ${step.allowed ? "passed" : "failed"}`}</Text>}
              bullet={step.allowed ? <CheckIcon size={14} /> : <CrossIcon size={14} />}
              color={step.allowed ? "harbor" : "red"}
            >
              <Text size="sm">{reasonOf(step)}</Text>
            </Timeline.Item>
          ))}
        </Timeline>
      )}
      <Text size="xs" c="dimmed">
        Decided in {tookMs.toFixed(1)} ms{change === undefined ? "" : `, because of change ${change}`}. In a
        terminal:
      </Text>
      <Code block>{`npx sallyport why ${reference}`}</Code>
    </Stack>
  );
}

/** Explains in words why a step passed or failed. */
function reasonOf(step: Step): string {
  if (step.kind === "authorize")
    return step.allowed ? "The app’s own check allowed it." : "The app’s own check denied it.";
  const { rule, subject, held, missing } = step;
  const required = [
    ...rule.anyOf.map((names) => `one of ${names.map((name) => labelOf(String(name))).join(", ")}`),
    ...(rule.allOf.length > 0 ? [rule.allOf.map((name) => labelOf(String(name))).join(" and ")] : []),
  ];
  const needs = required.length > 0 ? `Requires ${required.join(" and ")}.` : "Requires a signed-in user.";
  if (subject.isSuperuser) return `${needs} A superuser has every permission.`;
  const has = held.map(
    ({ permission, group }) => `${labelOf(permission)} ${group === null ? "(direct)" : `(through ${group})`}`,
  );
  if (step.allowed) return has.length > 0 ? `${needs} Has ${has.join(", ")}.` : needs;
  return `${needs} Missing: ${missing.map(labelOf).join(", ")}.`;
}
