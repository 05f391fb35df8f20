import { useQueryClient } from "@tanstack/react-query";
import { createContext, type ReactNode, useContext, useEffect, useState, useSyncExternalStore } from "react";
import {
  type ChangeEntry,
  type ClosedEntry,
  type DecisionEntry,
  type LiveEntry,
  LiveStore,
} from "./live-store.ts";

export type { ClosedEntry, DecisionEntry, LiveEntry };

const LiveContext = createContext(new LiveStore());

/** Receives the entries of the live panel, and refreshes what a change of permissions affects. */
export function LiveProvider({ children }: { readonly children: ReactNode }) {
  const [store] = useState(() => new LiveStore());
  const queryClient = useQueryClient();
  useEffect(() => {
    const source = new EventSource("/api/live");
    source.onopen = () => store.setState("live");
    source.onerror = () => store.setState("stopped");
    source.addEventListener("superseded", () => {
      source.close();
      store.setState("superseded");
    });
    source.onmessage = ({ data }) => {
      const received = JSON.parse(data) as readonly LiveEntry[];
      store.add(received);
      if (received.every(({ kind }) => kind !== "change")) return;
      for (const queryKey of [["me"], ["access"]]) void queryClient.invalidateQueries({ queryKey });
    };
    return () => source.close();
  }, [queryClient, store]);
  return <LiveContext value={store}>{children}</LiveContext>;
}

/**
 * Returns a value of the live store. The component renders again only if the value changes.
 *
 * @param select must return the same object for the same content
 */
export function useLiveValue<Value>(select: (store: LiveStore) => Value): Value {
  const store = useContext(LiveContext);
  return useSyncExternalStore(store.subscribe, () => select(store));
}

/** Returns all entries, newest first. The component renders again for each entry. */
export function useLive(): { readonly entries: readonly LiveEntry[] } {
  return { entries: useLiveValue(({ entries }) => entries) };
}

/** Returns a decision, or undefined if it is not among the entries. */
export function useDecision(reference: string): DecisionEntry | undefined {
  return useLiveValue((store) => store.findDecision(reference));
}

/** Returns the close of a socket that a decision caused, or undefined until it has closed. */
export function useClosed(reference: string): ClosedEntry | undefined {
  return useLiveValue((store) => store.findClosed(reference));
}

/** Returns a change of permissions, or undefined if it is not among the entries. */
export function useChange(number: number | undefined): ChangeEntry | undefined {
  return useLiveValue((store) => store.findChange(number));
}
