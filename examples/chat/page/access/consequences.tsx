import { Button, Group, List, Stack, Text } from "@mantine/core";
import { type Consequence, type Switch, usePreview } from "../api/access.ts";
import classes from "./access.module.css";

interface Props {
  readonly question: string;
  /** The switch in the position that it would get. */
  readonly change: Switch;
  /** What the question names already, so that the list does not repeat it. */
  readonly lost: { readonly person: string; readonly label: string };
  readonly onConfirm: () => void;
  readonly onCancel: () => void;
}

/** What a change would end, before it is made. */
export function Consequences({ question, change, lost, onConfirm, onCancel }: Props) {
  const { data, error } = usePreview(change, { isEnabled: true });
  const sentences = data?.flatMap((consequence) => sentencesOf(consequence, lost)) ?? [];
  return (
    <Stack gap={8} role="status" data-testid="preview">
      <Text size="sm" fw={600} lh={1.35}>
        {question}
      </Text>
      {error && <Text size="sm">{error.message}</Text>}
      {data && (
        <List size="sm" spacing={2} pr="xs">
          {sentences.map((sentence) => (
            <List.Item key={sentence}>{sentence}</List.Item>
          ))}
          {sentences.length === 0 && (
            <List.Item>
              {data.length === 0 && change.kind !== "book-club"
                ? "No access is lost."
                : "No open connection is affected."}
            </List.Item>
          )}
        </List>
      )}
      <Group gap="xs" justify="flex-end">
        <Button size="xs" variant="default" className={classes.touch} onClick={onCancel}>
          Cancel
        </Button>
        <Button
          size="xs"
          color="red.9"
          className={classes.touch}
          data-autofocus
          onClick={onConfirm}
          data-testid="confirm"
        >
          Revoke
        </Button>
      </Group>
    </Stack>
  );
}

function sentencesOf(
  { person, loses, closedConnections, leftRooms }: Consequence,
  lost: Props["lost"],
): string[] {
  const more = loses.filter((label) => person !== lost.person || label !== lost.label);
  const connections = closedConnections === 1 ? "1 connection" : `${closedConnections} connections`;
  return [
    ...(more.length > 0 ? [`${person} loses ${more.map((label) => `“${label}”`).join(" and ")}.`] : []),
    ...(closedConnections > 0 ? [`Closes ${connections} of ${person}.`] : []),
    ...leftRooms.map((room) => `${person} leaves the room ${room}.`),
  ];
}
