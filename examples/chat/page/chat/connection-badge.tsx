import { Badge } from "@mantine/core";
import { useSocket } from "./socket.ts";

const STATES = {
  connecting: { label: "connecting", color: "yellow" },
  open: { label: "connected", color: "harbor" },
  reconnecting: { label: "reconnecting", color: "yellow" },
  denied: { label: "no access", color: "gray" },
  closed: { label: "closed", color: "gray" },
} as const;

/** The state of the connection in words. */
export function ConnectionBadge() {
  const { state, denial } = useSocket();
  const { label, color } =
    state === "denied" && denial?.kind === "revoked"
      ? { label: "access ended", color: "orange" }
      : STATES[state];
  return (
    <Badge color={color} variant="light" role="status" data-testid="state" data-state={state}>
      {label}
    </Badge>
  );
}
