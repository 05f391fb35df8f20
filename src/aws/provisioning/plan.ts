import type { Gateway } from "../../auth/gateways.ts";
import type { GatewayDefinition } from "../define-gateway.ts";
import type { Actual, ActualApi } from "./actual.ts";
import type { DesiredApi } from "./desired.ts";
import type { RunContext } from "./run-context.ts";

/** One change, at AWS or in the database. */
export interface Step {
  readonly action: "create" | "change" | "remove" | "deploy";
  /** Such as `route moderate`. */
  readonly what: string;
  /** What becomes what. */
  readonly details: readonly string[];
  /** What it waits for: that every process knows our record as it is, or also that what is deployed is served everywhere. */
  readonly after?: "known" | "settled";
  readonly run: (hand: RunContext) => Promise<void>;
}

/** What is there and what is wanted, looked at together. */
export interface Comparison {
  readonly definition: GatewayDefinition;
  readonly desired: DesiredApi;
  readonly actual: Omit<Actual, "found">;
  readonly found: ActualApi | undefined;
  /** Our record of the gateway. */
  readonly record: Gateway | undefined;
  /** Epoch milliseconds. */
  readonly now: number;
  /** Hashes to accept, newest first. */
  readonly accepted: readonly string[];
}

/** Fields that differ, as `Name: what is there → what is wanted`, and the wanted values of those that do. */
export function differences<Fields extends object>(
  actual: object | undefined,
  desired: Fields,
): { readonly details: readonly string[]; readonly changes: Partial<Fields> } {
  const there = (actual ?? {}) as Readonly<Record<string, unknown>>;
  const other = Object.entries(desired).filter(([name, wanted]) => !isSame(there[name], wanted));
  return {
    details: other.map(([name, wanted]) => `${name}: ${shownValue(there[name])} → ${shownValue(wanted)}`),
    changes: Object.fromEntries(other) as Partial<Fields>,
  };
}

/** What AWS leaves out is empty, or off. */
function isSame(there: unknown, wanted: unknown): boolean {
  return (there ?? "") === (wanted ?? "") || (there === undefined && wanted === false);
}

/**
 * The entries of a map that differ, and the map to send.
 *
 * AWS merges the entries of an update and removes those that are empty. Other control planes, such as moto, replace the map. So all wanted
 * entries are sent, and an empty one for each entry to remove.
 */
export function entryDifferences(
  actual: Readonly<Record<string, string>> | undefined,
  desired: Readonly<Record<string, string>>,
): { readonly names: readonly string[]; readonly update: Readonly<Record<string, string>> } {
  // What replaces a map may keep the empty entries.
  const there = Object.fromEntries(Object.entries(actual ?? {}).filter(([, value]) => value !== ""));
  const gone = Object.keys(there).filter((name) => !Object.hasOwn(desired, name));
  const others = Object.keys(desired).filter((name) => there[name] !== desired[name]);
  const removed = Object.fromEntries(gone.map((name) => [name, ""]));
  return { names: [...others, ...gone].sort(), update: { ...removed, ...desired } };
}

function shownValue(value: unknown): string {
  return value === undefined || value === "" ? "nothing" : withoutQuery(String(value));
}

/** A URL as it may be shown: what others have put into its query, or before its host, may be a secret. */
export function withoutQuery(text: string): string {
  return text.replace(/^(https?:\/\/)[^/@?#]*@/, "$1…@").replace(/^(https?:\/\/[^?]*\?).*$/, "$1…");
}
