import { CloseButton, Text } from "@mantine/core";
import { useLocalStorage } from "@mantine/hooks";
import classes from "./app.module.css";
import { useGuide } from "./guide-progress.ts";
import { CheckIcon } from "./icons.tsx";
import { useLiveValue } from "./live/live-provider.tsx";
import type { LiveEntry } from "./live/live-store.ts";

const STEPS = [
  "In Access, turn off “Use chat” of Alice, and confirm.",
  "In her chat, press “Why?”.",
  "In Live, open a line with an arrow.",
];

/** Returns whether the guide is closed. It stays closed when the page is opened again. */
export function useGuideClosed() {
  return useLocalStorage({ key: "sallyport-demo-guide", defaultValue: false });
}

/** What to try first. A phone shows the current step only. */
export function Guide({ onClose }: { readonly onClose: () => void }) {
  const isRevoked = useLiveValue(({ entries }) => hasRevoke(entries));
  const { done } = useGuide();
  const isDone = [isRevoked, done.has("why"), done.has("line")];
  const first = isDone.indexOf(false);
  const current = first === -1 ? STEPS.length - 1 : first;
  return (
    <aside aria-label="What to try" className={classes.guide}>
      <ol className={classes.steps}>
        {STEPS.map((step, index) => (
          <li key={step} className={classes.step} data-done={isDone[index]} data-current={index === current}>
            <span className={classes.number} aria-hidden>
              {isDone[index] ? <CheckIcon size={13} /> : index + 1}
            </span>
            <Text span size="sm">
              {step}
              {isDone[index] && <span className={classes.hidden}> Done.</span>}
            </Text>
          </li>
        ))}
      </ol>
      <CloseButton size="sm" aria-label="Close the guide" onClick={onClose} />
    </aside>
  );
}

/** Whether Alice has lost the permission since the last reset. */
function hasRevoke(entries: readonly LiveEntry[]): boolean {
  for (const entry of entries) {
    if (entry.kind === "reset") return false;
    if (entry.kind !== "change" || entry.person !== "Alice") continue;
    if (entry.change.action === "revoke" && entry.change.permission === "chat.can_use_chat") return true;
  }
  return false;
}
