import { useEffect, useState } from "react";
import classes from "./access.module.css";

/** The remaining time at which the countdown turns red, in seconds. */
const URGENT = 5;

/** The time until a grant ends, as minutes and seconds. */
export function Countdown({ until }: { readonly until: number }) {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 250);
    return () => clearInterval(timer);
  }, []);
  const seconds = Math.max(0, Math.ceil((until - now) / 1000));
  const text = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  return (
    <span
      className={classes.countdown}
      data-urgent={seconds <= URGENT || undefined}
      role="timer"
      aria-label={`ends in ${text}`}
      data-testid="countdown"
    >
      {text}
    </span>
  );
}
