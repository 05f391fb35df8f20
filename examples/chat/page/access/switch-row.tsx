import { Button, Menu, Popover, Text, Switch as Toggle } from "@mantine/core";
import { useId, useState } from "react";
import { type Switch, useTurn } from "../api/access.ts";
import { CheckIcon, ClockIcon } from "../icons.tsx";
import classes from "./access.module.css";
import { Consequences } from "./consequences.tsx";
import { Countdown } from "./countdown.tsx";

interface Props {
  readonly label: string;
  /** The name of the person or group, for screen readers. */
  readonly of: string;
  /** The title of the preview of a revoke. */
  readonly question: string;
  readonly isOn: boolean;
  /** When it ends, in epoch milliseconds, or null for never. */
  readonly until?: number | null;
  /** A short text below the label. */
  readonly note?: string | undefined;
  /** What gives the same permission too, such as a group. The permission is held although the switch is off. */
  readonly source?: string | undefined;
  /** Returns the change that a position makes. */
  readonly change: (isOn: boolean, seconds?: number) => Switch;
  /** Whether it can be turned on for a limited time. */
  readonly isTimed?: boolean;
  /** Where the preview is placed. Above the last rows of a card, it does not cover the next card. */
  readonly previewSide?: "top" | "bottom";
}

const DURATIONS = [
  { seconds: 15, label: "15 seconds" },
  { seconds: 60, label: "1 minute" },
  { seconds: 600, label: "10 minutes" },
];

/** A permission, group or flag as a switch. Turning it off shows first what that ends. */
export function SwitchRow(props: Props) {
  const { label, of, question, isOn, until = null, note, source, change } = props;
  const { isTimed = false, previewSide = "bottom" } = props;
  const turn = useTurn();
  const id = useId();
  const [isAsking, setAsking] = useState(false);
  const apply = (next: Switch) => {
    setAsking(false);
    turn.mutate(next);
  };
  const isHeldOtherwise = !isOn && source !== undefined;
  // A timed grant would replace a permanent one, and so end it.
  const isPermanent = isOn && until === null;
  return (
    <div className={classes.row}>
      <label htmlFor={id} className={classes.label}>
        <Text span size="sm" lh={1.3} display="block">
          {label}
        </Text>
        <span id={`${id}-note`}>
          {isHeldOtherwise && (
            <span className={classes.held} data-testid="held">
              <CheckIcon size={13} />
              on, {source}
            </span>
          )}
          {isOn && source && (
            <Text span size="xs" c="dimmed" lh={1.3} display="block">
              also {source}
            </Text>
          )}
          {note && (
            <Text span size="xs" c="dimmed" lh={1.3} display="block">
              {note}
            </Text>
          )}
        </span>
        {turn.error && (
          <Text span size="xs" c="red" role="alert" display="block">
            {turn.error.message}
          </Text>
        )}
      </label>
      {isOn && until !== null && <Countdown until={until} />}
      {isTimed && (
        <span className={classes.clock}>
          {!isPermanent && (
            <DurationMenu
              title={`“${label}” for ${of}, for\u00a0…`}
              label={`Give ${of} “${label}” for…`}
              onChoose={(seconds) => apply(change(true, seconds))}
            />
          )}
        </span>
      )}
      <Popover
        opened={isAsking}
        onChange={setAsking}
        position={`${previewSide}-end`}
        offset={6}
        width={264}
        shadow="md"
        trapFocus
        returnFocus
        // With roles, the popover replaces the id of the switch, which its label needs.
        withRoles={false}
      >
        <Popover.Target>
          <Toggle
            id={id}
            aria-label={`${of}: ${label}`}
            aria-describedby={`${id}-note`}
            checked={isOn}
            disabled={turn.isPending}
            withThumbIndicator={false}
            classNames={{ track: classes.track }}
            data-held={isHeldOtherwise || undefined}
            onChange={() => (isOn ? setAsking(true) : apply(change(true)))}
          />
        </Popover.Target>
        <Popover.Dropdown role="dialog" aria-label={question} className={classes.dropdown}>
          {isAsking && (
            <Consequences
              question={question}
              change={change(false)}
              lost={{ person: of, label }}
              onConfirm={() => apply(change(false))}
              onCancel={() => setAsking(false)}
            />
          )}
        </Popover.Dropdown>
      </Popover>
    </div>
  );
}

interface DurationMenuProps {
  readonly title: string;
  readonly label: string;
  readonly onChoose: (seconds: number) => void;
}

function DurationMenu({ title, label, onChoose }: DurationMenuProps) {
  return (
    <Menu position="bottom-end" withArrow shadow="md">
      <Menu.Target>
        <Button
          variant="subtle"
          color="gray"
          size="compact-xs"
          px={4}
          className={classes.touch}
          classNames={{ section: classes.clockIcon, label: classes.clockText }}
          leftSection={<ClockIcon size={13} />}
          aria-label={label}
        >
          for…
        </Button>
      </Menu.Target>
      <Menu.Dropdown className={classes.menu} maw={232}>
        <Menu.Label>{title}</Menu.Label>
        {DURATIONS.map((duration) => (
          <Menu.Item
            key={duration.seconds}
            className={classes.touch}
            onClick={() => onChoose(duration.seconds)}
          >
            {duration.label}
          </Menu.Item>
        ))}
      </Menu.Dropdown>
    </Menu>
  );
}
