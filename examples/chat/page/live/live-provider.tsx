import { useQueryClient } from "@tanstack/react-query";
import { createContext, type ReactNode, useContext, useEffect, useState } from "react";
import type { LiveEntry } from "../../src/live/entry.ts";

export type { LiveEntry };
export type DecisionEntry = Extract<LiveEntry, { kind: "decision" }>;
export type ClosedEntry = Extract<LiveEntry, { kind: "closed" }>;

interface Live {
  /** The entries, newest first. */
  readonly entries: readonly LiveEntry[];
  readonly isConnected: boolean;
}

/** Maximum number of entries on the page. */
const KEPT = 300;

const LiveContext = createContext<Live>({ entries: [], isConnected: false });

/** Receives the entries of the live panel, and refreshes what a change of permissions affects. */
export function LiveProvider({ children }: { readonly children: ReactNode }) {
  const [entries, setEntries] = useState<readonly LiveEntry[]>([]);
  const [isConnected, setConnected] = useState(false);
  const queryClient = useQueryClient();
  useEffect(() => {
    const source = new EventSource("/api/live");
    source.onopen = () => setConnected(true);
    source.onerror = () => setConnected(false);
    source.onmessage = ({ data }) => {
      const received = JSON.parse(data) as readonly LiveEntry[];
      setEntries((before) => merged(before, received));
      if (received.every(({ kind }) => kind !== "change")) return;
      for (const queryKey of [["me"], ["access"]]) void queryClient.invalidateQueries({ queryKey });
    };
    return () => source.close();
  }, [queryClient]);
  return <LiveContext value={{ entries, isConnected }}>{children}</LiveContext>;
}

export function useLive(): Live {
  return useContext(LiveContext);
}

/** Returns a decision, or undefined if it is not among the entries. */
export function useDecision(reference: string): DecisionEntry | undefined {
  return useLive().entries.find(
    (entry): entry is DecisionEntry => entry.kind === "decision" && entry.decision.reference === reference,
  );
}

/** Returns the close of a socket that followed a decision, or undefined until it has closed. */
export function useClosed(reference: string): ClosedEntry | undefined {
  const { entries } = useLive();
  const decision = useDecision(reference)?.decision;
  return entries.find(
    (entry): entry is ClosedEntry =>
      entry.kind === "closed" &&
      entry.change.number === decision?.change &&
      entry.userId === decision?.userId,
  );
}

function merged(before: readonly LiveEntry[], received: readonly LiveEntry[]): readonly LiveEntry[] {
  // After a restart of the server, the ids begin again.
  const newest = before[0]?.id ?? 0;
  const isRestarted = received.some(({ id }) => id <= newest);
  return [...received.toReversed(), ...(isRestarted ? [] : before)].slice(0, KEPT);
}
