import { Text, UnstyledButton } from "@mantine/core";
import { memo } from "react";
import { BoltIcon, CheckIcon, CrossIcon, KeyIcon, NextIcon, PlugIcon } from "../icons.tsx";
import type { Tone } from "./describe.ts";
import classes from "./live.module.css";
import type { Row } from "./rows.ts";

const ICONS: Readonly<Record<Tone, typeof CheckIcon>> = {
  allowed: CheckIcon,
  denied: CrossIcon,
  ended: BoltIcon,
  change: KeyIcon,
  neutral: PlugIcon,
};

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium", hourCycle: "h23" });

interface Props extends Row {
  readonly onExplain: (reference: string) => void;
}

/**
 * A line of the live panel. A line about a decision is a button, which opens its explanation.
 *
 * All properties are texts and numbers, so that a new entry does not render the other lines again.
 */
export const LiveLine = memo(function LiveLine({
  kind,
  at,
  tone,
  title,
  detail,
  reference,
  onExplain,
}: Props) {
  if (kind === "reset")
    return (
      <li className={classes.divider} data-testid="live-line">
        {title} <span className={classes.time}>{clock.format(at)}</span>
      </li>
    );
  const Icon = ICONS[tone];
  const content = (
    <>
      <span className={classes.icon}>
        <Icon />
      </span>
      <span className={classes.words}>
        <Text span size="sm" fw={tone === "denied" || tone === "ended" ? 600 : 400} className={classes.title}>
          {title}
        </Text>
        {detail && (
          <Text span size="xs" className={classes.detail}>
            {detail}
          </Text>
        )}
      </span>
      <Text span size="xs" c="dimmed" className={classes.time}>
        {clock.format(at)}
      </Text>
      <span className={classes.chevron}>{reference !== undefined && <NextIcon size={14} />}</span>
    </>
  );
  return (
    <li className={classes.item} data-tone={tone} data-kind={kind} data-testid="live-line">
      {reference === undefined ? (
        <div className={classes.line}>{content}</div>
      ) : (
        <UnstyledButton className={classes.line} onClick={() => onExplain(reference)}>
          {content}
        </UnstyledButton>
      )}
    </li>
  );
});
