import { Text } from "@mantine/core";
import { CheckIcon, CrossIcon } from "../icons.tsx";
import classes from "./live.module.css";
import type { Reason } from "./reasons.ts";

/** The checks of a decision, each with its result and the reason. */
export function ReasonList({ reasons }: { readonly reasons: readonly Reason[] }) {
  if (reasons.length === 0) return null;
  return (
    <ol className={classes.reasons}>
      {reasons.map((reason) => (
        <ReasonItem key={`${reason.label} ${reason.code} ${reason.isPassed}`} reason={reason} />
      ))}
    </ol>
  );
}

function ReasonItem({ reason: { label, code, isPassed, parts } }: { readonly reason: Reason }) {
  return (
    <li className={classes.reason} data-passed={isPassed}>
      <span className={classes.icon}>{isPassed ? <CheckIcon /> : <CrossIcon />}</span>
      <div>
        <Text size="sm" fw={600}>
          {label}: {isPassed ? "passed" : "failed"} <Name>{code}</Name>
        </Text>
        <Text size="sm">
          {parts.map(({ text, code: name }) => (
            <span key={text} className={classes.part}>
              {text} {name && <Name>{name}</Name>}
            </span>
          ))}
        </Text>
      </div>
    </li>
  );
}

/** A name of the code of the app. */
function Name({ children }: { readonly children: string }) {
  return (
    <Text span size="xs" c="dimmed" ff="monospace" fw={400}>
      {children}
    </Text>
  );
}
