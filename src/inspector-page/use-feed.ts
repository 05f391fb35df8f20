import { useEffect, useState } from "react";
import { applyMessage, EMPTY_FEED, type FeedState } from "./feed-state.ts";
import { readFeed } from "./feed-stream.ts";

/** The time before the page connects again, in milliseconds. */
const RETRY_MS = 1_000;

/** "superseded": the gateway closed the stream, because too many pages are open. */
export type LinkState = "connecting" | "open" | "lost" | "superseded";

export interface Feed {
  readonly state: FeedState;
  readonly link: LinkState;
  /** Connects again after the stream was superseded. */
  readonly reconnect: () => void;
}

/** Follows the event stream, and connects again after it was lost. */
export function useFeed(): Feed {
  const [state, setState] = useState(EMPTY_FEED);
  const [link, setLink] = useState<LinkState>("connecting");
  const [attempt, setAttempt] = useState(0);

  // biome-ignore lint/correctness/useExhaustiveDependencies: each attempt starts a new stream
  useEffect(() => {
    const leaving = new AbortController();
    let retry: ReturnType<typeof setTimeout> | undefined;
    let isSuperseded = false;
    const follow = async () => {
      await readFeed(leaving.signal, (message) => {
        isSuperseded = message.type === "superseded";
        setLink(isSuperseded ? "superseded" : "open");
        setState((current) => applyMessage(current, message));
      }).catch(() => undefined);
      if (leaving.signal.aborted || isSuperseded) return;
      setLink("lost");
      retry = setTimeout(follow, RETRY_MS);
    };
    void follow();
    return () => {
      leaving.abort();
      clearTimeout(retry);
    };
  }, [attempt]);

  const reconnect = () => setAttempt((current) => current + 1);
  useEffect(() => {
    if (link !== "superseded") return;
    const onFocus = () => setAttempt((current) => current + 1);
    window.addEventListener("focus", onFocus);
    return () => window.removeEventListener("focus", onFocus);
  }, [link]);
  return { state, link, reconnect };
}
