import { setTimeout as sleep } from "node:timers/promises";
import { ConfigurationError } from "../errors.ts";
import type { GatewayEvent } from "./events.ts";
import { checkShape, type Shape } from "./shape.ts";

/** An event as a fault chooses by it. */
export interface FaultyEvent {
  readonly kind: "connect" | "message" | "disconnect";
  readonly routeKey: string;
  readonly connectionId: string;
}

/** How often something goes wrong: a share from 0 to 1 of all events, or those that are chosen. */
export type Chance = number | ((event: FaultyEvent) => boolean);

/** What goes wrong between the gateway and a backend, as it may at AWS. */
export interface Faults {
  /** How long an event waits before its integration is called, in milliseconds. Default 0. */
  readonly delayMs?: number | ((event: FaultyEvent) => number);
  /** Events that never arrive. Of a connect or message the client hears what it hears of a timeout; a `$disconnect` is lost. Default: none. */
  readonly drop?: Chance;
  /** Events that arrive twice; the first answer counts. Default: none. */
  readonly duplicate?: Chance;
  /** Messages may overtake one another: each waits for a while of its own, up to so many milliseconds. Default 0. */
  readonly reorderMs?: number;
  /**
   * A client's header whose name is mapped as well arrives joined (`client, mapped`) in place of being overwritten, which AWS does not
   * promise: whoever reads it must refuse what is not one value. Default false.
   */
  readonly joinHeaders?: boolean;
  /** What chance goes by, so that it falls the same way again. Default: another one each time. */
  readonly seed?: number;
}

/** What becomes of one event on its way. */
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
  seed: "number",
} as const satisfies Shape<Faults>;

const UNHARMED: FaultPlan = { delayMs: 0, isDropped: false, isDoubled: false, isJoined: false };

/** Decides what goes wrong. */
export class FaultSwitches {
  #faults: Faults = {};
  #random: () => number = Math.random;

  /** @throws ConfigurationError for a share that is none */
  set(faults: Faults): void {
    checkShape("setFaults()", faults, FAULTS);
    for (const name of ["drop", "duplicate"] as const) {
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

  fateOf({ kind, routeKey, connection }: GatewayEvent): FaultPlan {
    const { delayMs = 0, drop = 0, duplicate = 0, reorderMs = 0, joinHeaders = false } = this.#faults;
    if (delayMs === 0 && drop === 0 && duplicate === 0 && reorderMs === 0 && !joinHeaders) return UNHARMED;
    const event = { kind, routeKey, connectionId: connection.id };
    const delay = typeof delayMs === "function" ? delayMs(event) : delayMs;
    const shuffled = kind === "message" && reorderMs > 0 ? this.#random() * reorderMs : 0;
    return {
      delayMs: delay + shuffled,
      isDropped: this.#falls(drop, event),
      isDoubled: this.#falls(duplicate, event),
      isJoined: joinHeaders,
    };
  }

  #falls(chance: Chance, event: FaultyEvent): boolean {
    return typeof chance === "function" ? chance(event) : this.#random() < chance;
  }
}

/** Waits so long, or until it is called off. */
export async function delayed(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => undefined);
}

/** Numbers from 0 to 1 that follow from a seed (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
