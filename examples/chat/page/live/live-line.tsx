import { Text, UnstyledButton } from "@mantine/core";
import { BoltIcon, CheckIcon, CrossIcon, KeyIcon } from "../icons.tsx";
import { describe, type Tone } from "./describe.ts";
import classes from "./live.module.css";
import type { DecisionEntry, LiveEntry } from "./live-provider.tsx";

const ICONS: Readonly<Record<Tone, typeof CheckIcon>> = {
  allowed: CheckIcon,
  denied: CrossIcon,
  ended: BoltIcon,
  change: KeyIcon,
};

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium", hourCycle: "h23" });

interface Props {
  readonly entry: LiveEntry;
  /** The number of equal entries that the line stands for. */
  readonly count: number;
  readonly onExplain: (entry: DecisionEntry) => void;
}

/** A line of the live panel. A decision is a button, which opens its explanation. */
export function LiveLine({ entry, count, onExplain }: Props) {
  const { tone, title, detail } = describe(entry);
  const Icon = ICONS[tone];
  const content = (
    <>
      <span className={classes.icon}>
        <Icon />
      </span>
      <span className={classes.words}>
        <Text span size="sm" fw={tone === "allowed" ? 400 : 600} className={classes.title}>
          {title}
        </Text>
        <Text span size="xs" className={classes.detail}>
          {count > 1 ? `${detail}, ${count} times` : detail}
        </Text>
      </span>
      <Text span size="xs" c="dimmed" className={classes.time}>
        {clock.format(entry.at)}
      </Text>
    </>
  );
  return (
    <li className={classes.item} data-tone={tone} data-kind={entry.kind} data-testid="live-line">
      {entry.kind === "decision" ? (
        <UnstyledButton className={classes.line} onClick={() => onExplain(entry)}>
          {content}
        </UnstyledButton>
      ) : (
        <div className={classes.line}>{content}</div>
      )}
    </li>
  );
}
