import { addressBlock } from "../auth/limit-keys.ts";
import type { Decision } from "./decision.ts";

/**
 * The maximum number of stored denials per kind and window. Further ones are counted on the last
 * one.
 */
const STORED_PER_WINDOW = 60;
/**
 * The same for denials without a known user, address or connection. Anyone can cause any number of
 * them.
 */
const STORED_WITHOUT_SOURCE_PER_WINDOW = 10;
/** The same for denied recipients. Otherwise, a busy channel would fill the table with one user. */
const STORED_DELIVERIES_PER_WINDOW = 1;
/** The maximum number of stored denials without a known user per window, of all kinds together. */
const STORED_WITHOUT_USER_PER_WINDOW = 600;
const WINDOW_MS = 60_000;
/** The maximum number of kinds that are counted at the same time. */
const MAX_KINDS = 10_000;

/** Suffix of the reference of a denial that was counted and not stored. */
const COUNTED = "+";

interface Window {
  readonly startedAt: number;
  stored: number;
  /** Reference of the last denial that was stored. */
  reference: string;
  /** The last denial that was only counted. */
  last: Decision | undefined;
  /** The number of counted denials since the last call of `take`. */
  repeats: number;
}

/** Whether a denial is stored, and its reference. */
export interface DenialRecord {
  /** The reference that the client receives. */
  readonly reference: string;
  readonly isStored: boolean;
}

/** The denials of one kind that were counted and not stored. */
export interface Repeats {
  /** The last of them. */
  readonly decision: Decision;
  /** Reference of the stored denial of the same kind, or undefined if there is none. */
  readonly storedAs: string | undefined;
  readonly repeats: number;
}

/**
 * Decides which denials are stored and which are only counted. A client that repeats a denied
 * request cannot fill the table.
 *
 * Denials are of the same kind if they have the same reason and the same user. Without a user, they
 * have the same reason, the same view, and the same address or connection.
 */
export class DenialCounter {
  readonly #windows = new Map<string, Window>();
  /** Counts of windows that have ended, and of denials without a window. */
  #ended: Repeats[] = [];
  #unknownUsers = { startedAt: 0, stored: 0 };

  /** Counts a denial and decides whether it is stored. */
  count(decision: Decision): DenialRecord {
    const { at, reference } = decision;
    const source = sourceOf(decision);
    const key = kindOf(decision, source);
    let window = this.#windows.get(key);
    if (window && hasEnded(window.startedAt, at)) {
      this.#end(key, window);
      window = undefined;
    }
    if (this.#canStore(decision, source, window)) {
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
    // Without a known source, the stored denial can belong to another client.
    return { reference: (source === undefined ? reference : window.reference) + COUNTED, isStored: false };
  }

  /** Returns what was counted since the last call. Windows that have ended are removed. */
  add(now = Date.now()): readonly Repeats[] {
    for (const [key, window] of this.#windows) {
      if (hasEnded(window.startedAt, now)) this.#end(key, window);
      else this.#ended.push(...takeRepeats(window));
    }
    const taken = this.#ended;
    this.#ended = [];
    return taken;
  }

  #canStore(decision: Decision, source: string | undefined, window: Window | undefined): boolean {
    const max = maxStored(decision, source);
    if (window ? window.stored >= max : this.#windows.size >= MAX_KINDS) return false;
    if (decision.userId !== undefined) return true;
    if (hasEnded(this.#unknownUsers.startedAt, decision.at)) {
      this.#unknownUsers = { startedAt: decision.at, stored: 0 };
    }
    if (this.#unknownUsers.stored >= STORED_WITHOUT_USER_PER_WINDOW) return false;
    this.#unknownUsers.stored++;
    return true;
  }

  #end(key: string, window: Window): void {
    this.#windows.delete(key);
    this.#ended.push(...takeRepeats(window));
  }

  /**
   * Counts a denial by event and reason only, so that the counts use a bounded amount of memory.
   */
  #addUnstored(decision: Decision): void {
    const isSame = ({ storedAs, decision: other }: Repeats) =>
      storedAs === undefined && other.reason === decision.reason && other.event === decision.event;
    const before = this.#ended.findIndex(isSame);
    const repeats = (this.#ended[before]?.repeats ?? 0) + 1;
    if (before >= 0) this.#ended.splice(before, 1);
    this.#ended.push({ decision, storedAs: undefined, repeats });
  }
}

/** Returns the reference of the stored denial, and whether the client's denial was only counted. */
export function storedReference(reference: string): {
  readonly stored: string;
  readonly isCounted: boolean;
} {
  const isCounted = reference.endsWith(COUNTED);
  return { stored: isCounted ? reference.slice(0, -COUNTED.length) : reference, isCounted };
}

/**
 * Returns whether a window has ended. A window also ends if the clock was set back by its length.
 */
function hasEnded(startedAt: number, now: number): boolean {
  return Math.abs(now - startedAt) >= WINDOW_MS;
}

function takeRepeats(window: Window): Repeats[] {
  const { last, reference, repeats } = window;
  window.repeats = 0;
  window.last = undefined;
  return last === undefined ? [] : [{ decision: last, storedAs: reference, repeats }];
}

function maxStored({ event }: Decision, source: string | undefined): number {
  if (event === "delivery") return STORED_DELIVERIES_PER_WINDOW;
  return source === undefined ? STORED_WITHOUT_SOURCE_PER_WINDOW : STORED_PER_WINDOW;
}

/**
 * Returns an identifier that a client cannot choose. A connection id is used if a known gateway
 * sent it.
 */
function sourceOf({ userId, connectionKey, sourceIp, gateway, connectionId }: Decision): string | undefined {
  if (sourceIp !== undefined) return userId ?? connectionKey ?? addressBlock(sourceIp) ?? sourceIp;
  return userId ?? connectionKey ?? (gateway === undefined ? undefined : connectionId);
}

function kindOf({ event, userId, view, reason }: Decision, source: string | undefined): string {
  const isKnown = userId !== undefined;
  return JSON.stringify([event === "delivery", isKnown, source, isKnown ? undefined : view, reason]);
}
