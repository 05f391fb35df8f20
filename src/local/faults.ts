import { setTimeout as sleep } from "node:timers/promises";
import { ConfigurationError } from "../errors.ts";
import type { GatewayEvent } from "./events.ts";
import { checkShape, type Shape } from "./shape.ts";

/** The event that a function of {@link Faults} receives. */
export interface FaultyEvent {
  readonly kind: "connect" | "message" | "disconnect";
  readonly routeKey: string;
  readonly connectionId: string;
}

/**
 * The events that a fault affects: a share of all events from 0 to 1, or a function that selects
 * them.
 */
export type Chance = number | ((event: FaultyEvent) => boolean);

/**
 * The posts that a fault affects: a share of all posts from 0 to 1, or a function of the connection
 * id.
 */
export type PostChance = number | ((connectionId: string) => boolean);

/** Faults between the gateway and a backend, which can occur at AWS too. */
export interface Faults {
  /** The delay before the integration of an event is called, in milliseconds. Default 0. */
  readonly delayMs?: number | ((event: FaultyEvent) => number);
  /**
   * Events that do not arrive. The client of a connect or message receives the answer to a timeout.
   * A `$disconnect` is lost. Default: none.
   */
  readonly drop?: Chance;
  /** Events that arrive twice. The first answer is used. Default: none. */
  readonly duplicate?: Chance;
  /**
   * The maximum of a random delay for each message, in milliseconds, so that messages overtake each
   * other. Default 0.
   */
  readonly reorderMs?: number;
  /**
   * Joins a mapped header with the client's header of the same name (`client, mapped`) instead of
   * overwriting it. AWS does not promise to overwrite it, so a backend must reject a joined value.
   * Default false.
   */
  readonly joinHeaders?: boolean;
  /**
   * Posts to `@connections` that are answered with 410 GoneException. The connection stays open, and
   * the message is not sent. Default: none.
   */
  readonly gone?: PostChance;
  /**
   * Posts to `@connections` that are answered with 429 LimitExceededException. The message is not
   * sent. Default: none.
   */
  readonly limitExceeded?: PostChance;
  /** The seed of the random numbers, for reproducible runs. Default: a different one each time. */
  readonly seed?: number;
}

/** A fault of a post to a connection. */
export type PostFault = "gone" | "limitExceeded";

/** The faults that affect one event. */
export interface FaultPlan {
  readonly delayMs: number;
  readonly isDropped: boolean;
  readonly isDoubled: boolean;
  readonly isJoined: boolean;
}

const FAULTS = {
  delayMs: "number or function",
  drop: "number or function",
  duplicate: "number or function",
  reorderMs: "number",
  joinHeaders: "boolean",
  gone: "number or function",
  limitExceeded: "number or function",
  seed: "number",
} as const satisfies Shape<Faults>;

const NO_FAULTS: FaultPlan = { delayMs: 0, isDropped: false, isDoubled: false, isJoined: false };

/** Holds the current faults, and selects those of each event and of each post. */
export class FaultSwitches {
  #faults: Faults = {};
  #random: () => number = Math.random;

  get current(): Faults {
    return this.#faults;
  }

  /**
   * Changes single faults, and keeps the others. The random numbers of a seed continue.
   *
   * @throws ConfigurationError for an invalid share or duration
   */
  change(changes: Omit<Faults, "seed">): void {
    const random = this.#random;
    this.set({ ...this.#faults, ...changes });
    this.#random = random;
  }

  /**
   * Replaces the current faults. The random numbers of a seed start again.
   *
   * @throws ConfigurationError for an invalid share or duration
   */
  set(faults: Faults): void {
    checkShape("setFaults()", faults, FAULTS);
    for (const name of ["drop", "duplicate", "gone", "limitExceeded"] as const) {
      const chance = faults[name];
      if (typeof chance === "number" && !(chance >= 0 && chance <= 1))
        throw new ConfigurationError(
          `setFaults(): ${name} must be a number from 0 to 1 or a function, but received ${chance}.`,
        );
    }
    for (const name of ["delayMs", "reorderMs"] as const) {
      const ms = faults[name];
      if (typeof ms === "number" && !(ms >= 0 && ms < 2 ** 31))
        throw new ConfigurationError(
          `setFaults(): ${name} must be a number of milliseconds from 0 to ${2 ** 31 - 1}, but received ${ms}.`,
        );
    }
    this.#faults = faults;
    this.#random = faults.seed === undefined ? Math.random : seeded(faults.seed);
  }

  /** Returns the faults of an event. */
  fateOf({ kind, routeKey, connection }: GatewayEvent): FaultPlan {
    const { delayMs = 0, drop = 0, duplicate = 0, reorderMs = 0, joinHeaders = false } = this.#faults;
    if (delayMs === 0 && drop === 0 && duplicate === 0 && reorderMs === 0 && !joinHeaders) return NO_FAULTS;
    const event = { kind, routeKey, connectionId: connection.id };
    const delay = typeof delayMs === "function" ? delayMs(event) : delayMs;
    const reorderDelay = kind === "message" && reorderMs > 0 ? this.#random() * reorderMs : 0;
    return {
      delayMs: delay + reorderDelay,
      isDropped: this.#isAffected(drop, event),
      isDoubled: this.#isAffected(duplicate, event),
      isJoined: joinHeaders,
    };
  }

  /**
   * Returns the fault of a post to a connection, or undefined for none.
   *
   * @throws what a function of the faults throws
   */
  postFaultOf(connectionId: string): PostFault | undefined {
    const { gone = 0, limitExceeded = 0 } = this.#faults;
    if (gone !== 0 && this.#isAffected(gone, connectionId)) return "gone";
    if (limitExceeded !== 0 && this.#isAffected(limitExceeded, connectionId)) return "limitExceeded";
    return undefined;
  }

  #isAffected<Subject>(chance: number | ((subject: Subject) => boolean), subject: Subject): boolean {
    return typeof chance === "function" ? chance(subject) : this.#random() < chance;
  }
}

/** Waits for a time in milliseconds, or until the signal is aborted. */
export async function delayed(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => undefined);
}

/** Returns a generator of pseudo-random numbers from 0 to 1 (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
