import { addressBlock } from "../auth/rate-limits.ts";
import type { Decision } from "./decision.ts";

/** Denials of one kind that are stored within a window. Further ones are counted on the last of them. */
const STORED_PER_WINDOW = 60;
/** The same for calls that no user, address or connection is known of. Everyone can cause them, without a limit. */
const STORED_WITHOUT_SOURCE_PER_WINDOW = 10;
/** The same for recipients that were denied a message, because a busy channel would fill the table with one user. */
const STORED_DELIVERIES_PER_WINDOW = 1;
/** Denials of unknown clients that are stored within a window, of all kinds together. */
const STORED_STRANGERS_PER_WINDOW = 600;
const WINDOW_MS = 60_000;
/** Kinds that are counted at the same time. */
const MAX_KINDS = 10_000;

/** Ends the reference of a denial that was counted and not stored. */
const COUNTED = "+";

interface Window {
  readonly startedAt: number;
  stored: number;
  /** Reference of the last denial that was stored. */
  reference: string;
  /** The last denial that was only counted. */
  last: Decision | undefined;
  /** Counted since they were last taken. */
  repeats: number;
}

/** What becomes of a denial. */
export interface CountedDenial {
  /** The reference that the client receives. */
  readonly reference: string;
  readonly isStored: boolean;
}

/** Denials of one kind that were counted and not stored. */
export interface Repeats {
  /** The last of them. */
  readonly decision: Decision;
  /** Reference of the stored denial that they are counted on. Undefined if none of their kind is stored. */
  readonly storedAs: string | undefined;
  readonly repeats: number;
}

/**
 * Decides which denials are stored and which are only counted, so that a client that repeats itself cannot fill the table.
 *
 * Denials are of one kind if they have the same reason and the same user. Without a user, they have the same view and come from the same
 * address or connection.
 */
export class DenialCounter {
  readonly #windows = new Map<string, Window>();
  /** Counts of windows that have ended, and of denials that no window counts. */
  #ended: Repeats[] = [];
  #strangers = { startedAt: 0, stored: 0 };

  count(decision: Decision): CountedDenial {
    const { at, reference } = decision;
    const source = sourceOf(decision);
    const key = kindOf(decision, source);
    let window = this.#windows.get(key);
    if (window && isOver(window.startedAt, at)) {
      this.#end(key, window);
      window = undefined;
    }
    if (this.#mayStore(decision, source, window)) {
      if (window) {
        window.stored++;
        window.reference = reference;
      } else this.#windows.set(key, { startedAt: at, stored: 1, reference, last: undefined, repeats: 0 });
      return { reference, isStored: true };
    }
    if (!window) {
      this.#addUnstored(decision);
      return { reference: reference + COUNTED, isStored: false };
    }
    window.last = decision;
    window.repeats++;
    // Without a known source, the stored denial can be of another client.
    return { reference: (source === undefined ? reference : window.reference) + COUNTED, isStored: false };
  }

  /** Returns what was counted since the last call. Windows that have ended are removed. */
  take(now = Date.now()): readonly Repeats[] {
    for (const [key, window] of this.#windows) {
      if (isOver(window.startedAt, now)) this.#end(key, window);
      else this.#ended.push(...takeRepeats(window));
    }
    const taken = this.#ended;
    this.#ended = [];
    return taken;
  }

  #mayStore(decision: Decision, source: string | undefined, window: Window | undefined): boolean {
    const most = mostStored(decision, source);
    if (window ? window.stored >= most : this.#windows.size >= MAX_KINDS) return false;
    if (decision.userId !== undefined) return true;
    if (isOver(this.#strangers.startedAt, decision.at)) {
      this.#strangers = { startedAt: decision.at, stored: 0 };
    }
    if (this.#strangers.stored >= STORED_STRANGERS_PER_WINDOW) return false;
    this.#strangers.stored++;
    return true;
  }

  #end(key: string, window: Window): void {
    this.#windows.delete(key);
    this.#ended.push(...takeRepeats(window));
  }

  /** They are counted by their reason alone, so that their number cannot fill the memory. */
  #addUnstored(decision: Decision): void {
    const isSame = ({ storedAs, decision: other }: Repeats) =>
      storedAs === undefined && other.reason === decision.reason && other.event === decision.event;
    const before = this.#ended.findIndex(isSame);
    const repeats = (this.#ended[before]?.repeats ?? 0) + 1;
    if (before >= 0) this.#ended.splice(before, 1);
    this.#ended.push({ decision, storedAs: undefined, repeats });
  }
}

/** Returns the reference of the stored denial that a client's reference leads to, and whether its own denial was only counted. */
export function storedReference(reference: string): {
  readonly stored: string;
  readonly isCounted: boolean;
} {
  const isCounted = reference.endsWith(COUNTED);
  return { stored: isCounted ? reference.slice(0, -COUNTED.length) : reference, isCounted };
}

/** Also if the clock was set back: a window that begins in the future would last until then. */
function isOver(startedAt: number, now: number): boolean {
  return Math.abs(now - startedAt) >= WINDOW_MS;
}

function takeRepeats(window: Window): Repeats[] {
  const { last, reference, repeats } = window;
  window.repeats = 0;
  window.last = undefined;
  return last === undefined ? [] : [{ decision: last, storedAs: reference, repeats }];
}

function mostStored({ event }: Decision, source: string | undefined): number {
  if (event === "delivery") return STORED_DELIVERIES_PER_WINDOW;
  return source === undefined ? STORED_WITHOUT_SOURCE_PER_WINDOW : STORED_PER_WINDOW;
}

/** Returns what one client cannot change at will. The id of a connection counts if a known gateway has sent it. */
function sourceOf({ userId, connectionKey, sourceIp, gateway, connectionId }: Decision): string | undefined {
  if (sourceIp !== undefined) return userId ?? connectionKey ?? addressBlock(sourceIp) ?? sourceIp;
  return userId ?? connectionKey ?? (gateway === undefined ? undefined : connectionId);
}

function kindOf({ event, userId, view, reason }: Decision, source: string | undefined): string {
  const isKnown = userId !== undefined;
  return JSON.stringify([event === "delivery", isKnown, source, isKnown ? undefined : view, reason]);
}
