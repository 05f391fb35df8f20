import { useSyncExternalStore } from "react";

/** The steps of the guide that are done in the page, and not on the server. */
export type GuideStep = "why" | "line";

let done: ReadonlySet<GuideStep> = new Set();
const listeners = new Set<() => void>();

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function replace(next: ReadonlySet<GuideStep>): void {
  done = next;
  for (const listener of listeners) listener();
}

function complete(step: GuideStep): void {
  if (!done.has(step)) replace(new Set([...done, step]));
}

function restart(): void {
  replace(new Set());
}

/** Returns the completed steps, and functions that never change. */
export function useGuide() {
  return { done: useSyncExternalStore(subscribe, () => done), complete, restart };
}
