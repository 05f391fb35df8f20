import { ActionIcon, Group, Menu, Popover, Text, Switch as Toggle } from "@mantine/core";
import { useState } from "react";
import { type Switch, useTurn } from "../api/access.ts";
import { ClockIcon } from "../icons.tsx";
import { Consequences } from "./consequences.tsx";
import { Countdown } from "./countdown.tsx";

interface Props {
  readonly label: string;
  /** The name of the person or group, for screen readers. */
  readonly of: string;
  readonly isOn: boolean;
  /** When it ends, in epoch milliseconds, or null for never. */
  readonly until?: number | null;
  /** A short text beside the label, such as the group that gives the permission too. */
  readonly note?: string | undefined;
  /** Returns the change that a position makes. */
  readonly change: (isOn: boolean, seconds?: number) => Switch;
  /** Whether it can be turned on for a limited time. */
  readonly isTimed?: boolean;
}

const DURATIONS = [
  { seconds: 15, label: "15 seconds" },
  { seconds: 60, label: "1 minute" },
  { seconds: 600, label: "10 minutes" },
];

/** A permission, group or flag as a switch. Turning it off shows first what that ends. */
export function SwitchRow({ label, of, isOn, until = null, note, change, isTimed = false }: Props) {
  const turn = useTurn();
  const [isAsking, setAsking] = useState(false);
  const apply = (next: Switch) => {
    setAsking(false);
    turn.mutate(next);
  };
  return (
    <Group gap={6} wrap="nowrap" justify="space-between" mih={30}>
      <div style={{ minWidth: 0 }}>
        <Text size="sm" lh={1.3}>
          {label}
        </Text>
        {note && (
          <Text size="xs" c="dimmed" lh={1.2}>
            {note}
          </Text>
        )}
        {turn.error && (
          <Text size="xs" c="red" role="alert">
            {turn.error.message}
          </Text>
        )}
      </div>
      <Group gap={6} wrap="nowrap">
        {isOn && until !== null && <Countdown until={until} />}
        {isTimed && (
          <DurationMenu
            label={`Give ${of} “${label}” for a limited time`}
            onChoose={(seconds) => apply(change(true, seconds))}
          />
        )}
        <Popover
          opened={isAsking}
          onChange={setAsking}
          position="bottom-end"
          withArrow
          trapFocus
          returnFocus
          width={280}
        >
          <Popover.Target>
            <Toggle
              aria-label={`${of}: ${label}`}
              checked={isOn}
              disabled={turn.isPending}
              onChange={() => (isOn ? setAsking(true) : apply(change(true)))}
            />
          </Popover.Target>
          <Popover.Dropdown aria-label={`What it ends to take “${label}” from ${of}`}>
            {isAsking && (
              <Consequences
                change={change(false)}
                onConfirm={() => apply(change(false))}
                onCancel={() => setAsking(false)}
              />
            )}
          </Popover.Dropdown>
        </Popover>
      </Group>
    </Group>
  );
}

function DurationMenu({
  label,
  onChoose,
}: {
  readonly label: string;
  readonly onChoose: (seconds: number) => void;
}) {
  return (
    <Menu position="bottom-end" withArrow>
      <Menu.Target>
        <ActionIcon variant="subtle" color="gray" aria-label={label}>
          <ClockIcon />
        </ActionIcon>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>Grant for</Menu.Label>
        {DURATIONS.map((duration) => (
          <Menu.Item key={duration.seconds} onClick={() => onChoose(duration.seconds)}>
            {duration.label}
          </Menu.Item>
        ))}
      </Menu.Dropdown>
    </Menu>
  );
}
