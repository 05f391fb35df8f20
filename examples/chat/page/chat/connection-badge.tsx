import { Badge, Text } from "@mantine/core";
import classes from "./chat.module.css";
import { useSocket } from "./socket.ts";

const EXCEPTIONS = {
  connecting: { label: "connecting", color: "yellow" },
  reconnecting: { label: "reconnecting", color: "yellow" },
  denied: { label: "no access", color: "gray" },
  closed: { label: "closed", color: "gray" },
} as const;

/** The state of the connection in words. Only an exception has a color. */
export function ConnectionBadge() {
  const { state, denial } = useSocket();
  if (state === "open") {
    return (
      <Text size="xs" className={classes.connected} role="status" data-testid="state" data-state={state}>
        connected
      </Text>
    );
  }
  const { label, color } =
    state === "denied" && denial?.kind === "revoked"
      ? { label: "access ended", color: "orange" }
      : EXCEPTIONS[state];
  return (
    <Badge
      color={color}
      variant="light"
      tt="none"
      fw={600}
      role="status"
      data-testid="state"
      data-state={state}
    >
      {label}
    </Badge>
  );
}
