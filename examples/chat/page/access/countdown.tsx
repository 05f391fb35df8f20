import { Badge } from "@mantine/core";
import { useEffect, useState } from "react";

/** The time until a grant ends. */
export function Countdown({ until }: { readonly until: number }) {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 250);
    return () => clearInterval(timer);
  }, []);
  const seconds = Math.max(0, Math.ceil((until - now) / 1000));
  const text =
    seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  return (
    <Badge
      color={seconds <= 10 ? "red" : "orange"}
      variant="light"
      role="timer"
      aria-label={`ends in ${text}`}
      data-testid="countdown"
      style={{ fontVariantNumeric: "tabular-nums" }}
    >
      {text}
    </Badge>
  );
}
