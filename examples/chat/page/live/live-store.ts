import type { LiveEntry } from "../../src/live/entry.ts";

export type { LiveEntry };
export type DecisionEntry = Extract<LiveEntry, { kind: "decision" }>;
export type ClosedEntry = Extract<LiveEntry, { kind: "closed" }>;
export type ChangeEntry = Extract<LiveEntry, { kind: "change" }>;

/** Whether the stream of the server is open. It is superseded if too many pages are open. */
export type StreamState = "connecting" | "live" | "stopped" | "superseded";

/** Maximum number of entries on the page. */
const KEPT = 300;

/** What the page has received from the live stream. Components subscribe to the part that they show. */
export class LiveStore {
  /** Newest first. */
  entries: readonly LiveEntry[] = [];
  state: StreamState = "connecting";
  #decisions = new Map<string, DecisionEntry>();
  #closed = new Map<string, ClosedEntry>();
  #changes = new Map<number, ChangeEntry>();
  readonly #listeners = new Set<() => void>();

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  add(received: readonly LiveEntry[]): void {
    this.entries = merged(this.entries, received);
    this.#index();
    this.#notify();
  }

  setState(state: StreamState): void {
    this.state = state;
    this.#notify();
  }

  findDecision(reference: string): DecisionEntry | undefined {
    return this.#decisions.get(reference);
  }

  /** Returns the close of a socket that a decision caused. */
  findClosed(reference: string): ClosedEntry | undefined {
    return this.#closed.get(reference);
  }

  findChange(number: number | undefined): ChangeEntry | undefined {
    return number === undefined ? undefined : this.#changes.get(number);
  }

  #index(): void {
    this.#decisions = new Map();
    this.#closed = new Map();
    this.#changes = new Map();
    for (const entry of this.entries) {
      if (entry.kind === "decision") this.#decisions.set(entry.decision.reference, entry);
      if (entry.kind === "closed") this.#closed.set(entry.reference, entry);
      if (entry.kind === "change") this.#changes.set(entry.change.number, entry);
    }
  }

  #notify(): void {
    for (const listener of this.#listeners) listener();
  }
}

function merged(before: readonly LiveEntry[], received: readonly LiveEntry[]): readonly LiveEntry[] {
  // After a restart of the server, the ids begin again.
  const newest = before[0]?.id ?? 0;
  const isRestarted = received.some(({ id }) => id <= newest);
  return [...received.toReversed(), ...(isRestarted ? [] : before)].slice(0, KEPT);
}
